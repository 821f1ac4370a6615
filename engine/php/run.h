/* One request from PHP's request startup to its shutdown. Worker's thread. */
#ifndef ENGINE_PHP_RUN_H
#define ENGINE_PHP_RUN_H

#include "engine/php/thread.h"

/* Runs the request; request_finish() has been called when it returns. */
void run_request(struct php_thread *t, struct request *r);
/* Pieces of it, for a worker script and its requests (worker_script.h). */
void run_describe(struct php_thread *t, struct request *r); /* to PHP and on the scoreboard */
void run_file(zend_file_handle *file);                      /* in its directory, and back */
void run_add_error_header(void);
void run_script_done(struct php_thread *t); /* its own part is over: times, access log */
/* PHP's request shutdown, whatever it takes; script: for the log. */
void run_shut_down(struct php_thread *t, const char *script);
/* Runs body between a request startup and shutdown of its own, without a client: nothing of it is sent.
 * For the main thread, and for threads with no request. false when PHP could not start it. */
bool run_aside(void (*body)(void *ctx), void *ctx);

#endif
