/* One request from PHP's request startup to its shutdown. Worker's thread. */
#ifndef ENGINE_PHP_RUN_H
#define ENGINE_PHP_RUN_H

#include "engine/php/thread.h"

/* Runs the request; request_finish() has been called when it returns. */
void run_request(struct php_thread *t, struct request *r);
/* Runs body between a request startup and shutdown of its own, without a client: nothing of it is sent.
 * For the main thread, and for threads with no request. false when PHP could not start it. */
bool run_aside(void (*body)(void *ctx), void *ctx);

#endif
