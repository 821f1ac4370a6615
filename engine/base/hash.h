/* A hash for tables in memory. Whoever can choose the keys must not know the seed. Any thread. */
#ifndef ENGINE_BASE_HASH_H
#define ENGINE_BASE_HASH_H

#include <stdint.h>

#include "engine/base/str.h"

/* Random bits, for a seed or a name: not for secrets. */
uint64_t hash_seed(void);
/* Good in its high and its low bits. */
uint64_t hash_str(struct str s, uint64_t seed);

#endif
