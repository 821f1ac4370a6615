/* Signals that a script sends or waits for. */
#ifndef ENGINE_PHP_SIGNALS_H
#define ENGINE_PHP_SIGNALS_H

#include "engine/php/thread.h"

void signals_start(void);        /* main thread: overrides PHP's functions */
void signals_thread_start(void); /* notes, once, which handlers are the server's */
void signals_request_end(void);
/* In the child of a fork: what the server handles or ignores is default again; what a script set stays. */
void signals_give_up(void);
void signals_end_fork(void); /* a request has ended: so does such a child, with its status, and at once */

#endif
