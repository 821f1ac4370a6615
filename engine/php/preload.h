/* preload = auto: a pool's process learns which class files its requests have in common (preload_learn.c),
 * and its successor has OPcache preload them (preload.c). What is learned is a text, which travels with the
 * list of scripts (opcache_warm.c), in front of it. Lines of it:
 *
 *   +F SECONDS NANOSECONDS SIZE INODE PATH    a file, and what stat() says of it
 *   +L GIVEN<tab>RESOLVED                     a script that was asked for, and where that leads
 *
 * The text is the pool's user's. Nobody reads it who has other rights: as root it is copied, no more. */
#ifndef ENGINE_PHP_PRELOAD_H
#define ENGINE_PHP_PRELOAD_H

#include "engine/php/thread.h"

#define PRELOAD_PATH_MAX 4000 /* longer ones are not preloaded */

/* -- preload.c -- */
/* Main thread, before load: the predecessor's list. failed: the start before this one did; nothing is
 * preloaded, then, and nothing learned. */
void preload_take(const char *list, size_t n, bool failed);
void preload_defaults(HashTable *configuration);  /* main thread, before php.ini is read */
void preload_start(const struct pool_conf *pool); /* main thread, as the pool's user, before any other */
void preload_begin(const struct request *r);      /* worker, before each request */
bool preload_stale(const char **why);             /* control thread; once true, and why is set */
bool preload_looks(void);                         /* any thread: are there files whose changes count? */
size_t preload_list(char *out, size_t size);      /* control thread: what the successor is to have; bytes */

/* -- preload_learn.c -- */
void preload_learn_start(void);                     /* main thread, before any other, after module startup */
void preload_learn_begin(void);                     /* worker, before each request */
const char *preload_learned(void);                  /* any thread: the text, or NULL: nothing yet */
void preload_learn_end(const struct php_thread *t); /* worker, inside a request of PHP's */

#endif
