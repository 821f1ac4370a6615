/* max_execution_time, max_input_time and set_time_limit() as deadlines of the engine. */
#ifndef ENGINE_PHP_TIMEOUT_H
#define ENGINE_PHP_TIMEOUT_H

#include "engine/php/thread.h"

void timeout_replace_handlers(void); /* main thread, while the module starts */
void timeout_thread_start(void);
void timeout_begin_input(struct php_thread *t);  /* request startup begins */
void timeout_begin_script(struct php_thread *t); /* the script begins */
void timeout_end(struct php_thread *t);
void timeout_interrupt(struct php_thread *t); /* control thread, worker locked */

#endif
