/* What PHP has to say: its errors, and error_log(). As php-fpm they are lines of a worker; else each is one
 * record of the server's log that says whose it is. Worker's thread, or the main thread at the start. */
#ifndef ENGINE_PHP_MESSAGES_H
#define ENGINE_PHP_MESSAGES_H

#include <stdbool.h>

struct cli_options;

void messages_init(const struct cli_options *cli); /* main thread, before PHP starts; cli may be NULL */
/* Main thread, when all extensions have started. */
void messages_watch(void);
/* While it is on, what is not fatal is said to nobody on this thread: the settings of php.ini, which each
 * thread reads again, and those that come back after a request, concern no request, and were heard when they
 * were set. */
void messages_hush(bool on);
/* sapi_module_struct's log_message. */
void messages_log(const char *message, int syslog_type);

#endif
