/* What a request died of, as a page for whoever works on the site (`tokiophp serve`): the message, the lines
 * around the place, the trace. Shown when the script is through with its shutdown functions, so that an
 * application that shows its own page does so alone. Worker's thread, but for the first two. */
#ifndef ENGINE_PHP_FATAL_H
#define ENGINE_PHP_FATAL_H

#include <stdbool.h>

struct php_thread;

void fatal_init(bool shown); /* main thread, before PHP starts */
void fatal_watch(void);      /* main thread, when all extensions have started */
/* At the end of a request, while output can still leave. */
void fatal_show(void);
void fatal_forget(struct php_thread *t); /* the request has ended: what came too late to be shown */
bool fatal_is_shown(void);               /* by the settings that this thread has now */

#endif
