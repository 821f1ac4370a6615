/* Memory of one request: many small allocations, freed all at once. One thread at a time; the owner is
 * whoever owns the request. Says no (NULL) beyond its limit: the caller answers 503 or 413, the process lives
 * on. */
#ifndef ENGINE_BASE_ARENA_H
#define ENGINE_BASE_ARENA_H

#include <stddef.h>

#include "engine/base/str.h"

struct arena;

struct arena *arena_create(size_t limit);     /* NULL: out of memory */
void *arena_alloc(struct arena *a, size_t n); /* aligned for any type; NULL: limit or out of memory */
char *arena_dup(struct arena *a, const char *p, size_t n); /* NUL-terminated copy */
char *arena_u64(struct arena *a, uint64_t n);              /* in decimal */
char *arena_join(struct arena *a, struct str first, struct str second);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_used(const struct arena *a);
void arena_reset(struct arena *a); /* keeps the first block, so a reused arena allocates nothing */
void arena_destroy(struct arena *a);

#endif
