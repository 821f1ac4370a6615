/* Remembers small results for a moment: what a path leads to, so that a hot path makes no system call a
 * request. Bounded in entries and bytes. Any thread: each set of entries has its own lock. */
#ifndef HTTP_CONTENT_BRIEF_CACHE_H
#define HTTP_CONTENT_BRIEF_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/str.h"

struct brief_cache;

#define BRIEF_KEY_MAX   512  /* longer keys are not remembered */
#define BRIEF_VALUE_MAX 4096 /* nor are larger values */

/* For about `entries` results, each for ttl_us. NULL: out of memory. */
struct brief_cache *brief_cache_create(size_t entries, uint64_t ttl_us);
void brief_cache_destroy(struct brief_cache *cache);
/* A copy of the value in the arena and its size; NULL: not known, or too old, or no memory. kind separates
 * uses of the same key. */
void *brief_cache_get(struct brief_cache *cache, char kind, struct str key, uint64_t now_us,
                      struct arena *arena, size_t *n);
/* worthless: a result that a stranger can make in any number (404); it never displaces others. */
void brief_cache_put(struct brief_cache *cache, char kind, struct str key, uint64_t now_us, const void *value,
                     size_t n, bool worthless);

#endif
