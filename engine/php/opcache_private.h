/* What the files of OPcache share, from the ground up: opcache_guard.c keeps it from restarting,
 * opcache_api.c calls its functions, opcache_list.c lists what it holds, opcache.c watches how full it is,
 * opcache_warm.c hands its contents on. Nobody else includes this. */
#ifndef ENGINE_PHP_OPCACHE_PRIVATE_H
#define ENGINE_PHP_OPCACHE_PRIVATE_H

#include "engine/php/opcache.h"

/* -- opcache_guard.c -- */
bool opcache_guarded(void); /* is there an OPcache with a lock file? Any time after opcache_guard() */

/* -- opcache_api.c: inside a request of PHP's -- */
void opcache_find_functions(void);                /* main thread, before any other starts */
bool opcache_can_tell(void);                      /* guarded, and opcache_get_status() is there; any time */
bool opcache_can_compile(void);                   /* the same of opcache_compile_file() */
void opcache_compile(const char *path, size_t n); /* what goes wrong is dropped */
void opcache_reset(void);                         /* marks it for a restart: nothing in it is used any more */
void opcache_status(bool with_scripts, zval *status);
HashTable *opcache_part_of(const zval *status, const char *name); /* NULL: not there */

/* -- opcache_list.c: inside a request of PHP's, except opcache_kept_list() -- */
struct opcache_listing {
    char *out; /* the caller's */
    size_t size, n;
};
void opcache_list(void *listing); /* appends, as far as there is room */
/* For opcache_warm_list(), which can tell nothing after an opcache_reset(): a worker's. */
void opcache_keep_list(void);
size_t opcache_kept_list(char *out, size_t size); /* what was kept; 0: nothing, or no room. Any thread */

/* -- opcache.c: inside a request of PHP's -- */
enum opcache_part { PART_MEMORY, PART_STRINGS, PART_KEYS, PARTS };
void opcache_measure(void);
int opcache_percent(enum opcache_part part); /* used, as measured last; any thread */

#endif
