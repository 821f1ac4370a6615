/* What the files of OPcache share: opcache.c watches how full it is, opcache_guard.c keeps it from
 * restarting, opcache_warm.c hands its contents on. Nobody else includes this. */
#ifndef ENGINE_PHP_OPCACHE_PRIVATE_H
#define ENGINE_PHP_OPCACHE_PRIVATE_H

#include "engine/php/opcache.h"

/* -- opcache_guard.c: main thread, except opcache_guarded() -- */
bool opcache_guard_start(void); /* false: OPcache is there, and the guard could not be started */
void opcache_guard_stop(void);
void opcache_guard_look(void); /* starts another one if it has ended */
bool opcache_guarded(void);    /* is there an OPcache with a lock file? */

/* -- opcache.c: inside a request of PHP's -- */
enum opcache_part { PART_MEMORY, PART_STRINGS, PART_KEYS, PARTS };
bool opcache_can_tell(void);                      /* guarded, and opcache_get_status() is there; any time */
bool opcache_can_compile(void);                   /* the same of opcache_compile_file() */
void opcache_compile(const char *path, size_t n); /* what goes wrong is dropped */
void opcache_reset(void);                         /* marks it for a restart: nothing in it is used any more */
void opcache_status(bool with_scripts, zval *status);
HashTable *opcache_part_of(const zval *status, const char *name); /* NULL: not there */
void opcache_measure(void);
int opcache_percent(enum opcache_part part); /* used, as measured last; any thread */

/* -- opcache_warm.c -- */
void opcache_keep_list(
    void); /* a worker, inside a request: for opcache_warm_list(), which then can tell nothing */

#endif
