/* See the header: FNV-1a with the rounds that it lacks. */
#include "engine/base/hash.h"

#include <stddef.h>
#include <sys/random.h>

#include "engine/base/clock.h"

uint64_t hash_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed)) {
        /* early boot: time and place are random enough */
        seed = (clock_us() ^ (uint64_t)(uintptr_t)&seed) * 0x9e3779b97f4a7c15ULL;
    }
    return seed;
}

uint64_t hash_str(struct str s, uint64_t seed)
{
    uint64_t hash = seed;

    for (size_t i = 0; i < s.n; i++) {
        hash = (hash ^ (unsigned char)s.p[i]) * 0x100000001b3ULL;
        hash ^= hash >> 29;
    }
    hash *= 0xbf58476d1ce4e5b9ULL;
    return hash ^ hash >> 32;
}
