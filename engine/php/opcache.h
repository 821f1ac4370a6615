/* OPcache in a threaded process: it never restarts in here, it is watched, and its contents can be handed to
 * the next generation. */
#ifndef ENGINE_PHP_OPCACHE_H
#define ENGINE_PHP_OPCACHE_H

#include "engine/php/thread.h"

void opcache_guard(void); /* main thread, after module startup, before the root directory changes */
void opcache_start(void); /* main thread, after module startup, before any thread */
void opcache_begin(struct php_thread *t);  /* worker, before each request, also of a worker script */
void opcache_sample(struct php_thread *t); /* worker, inside a request, now and then: how full is it */
bool opcache_check(const char **why);      /* control thread */
void opcache_warm(const char *list, size_t n, unsigned budget_ms); /* main thread, before workers */
void opcache_forget(void);                                         /* main thread */
size_t opcache_warm_list(char *out, size_t size);                  /* a registered thread without a request */

#endif
