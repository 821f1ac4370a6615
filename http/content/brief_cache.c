/* A table of sets with four entries each. A key belongs to one set, found by a hash that is seeded at the
 * start, so that strangers cannot aim at one set. A full set gives up first what is too old, then what is
 * worthless, then what was not used for longest. Values are copied in and out under the set's lock: a few
 * hundred bytes, and no reference counts. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "http/content/brief_cache.h"

#define WAYS 4

struct entry {
    uint64_t hash;
    uint64_t made_us, used_us;
    char *bytes; /* key, then value; NULL = free */
    uint32_t key_n, value_n, size;
    char kind;
    bool worthless;
};

struct entry_set {
    pthread_mutex_t lock; /* guards ways */
    struct entry ways[WAYS];
};

struct brief_cache {
    uint64_t ttl_us, seed;
    size_t set_count; /* a power of two */
    struct entry_set *sets;
};

struct brief_cache *brief_cache_create(size_t entries, uint64_t ttl_us)
{
    struct brief_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return NULL;
    }
    cache->ttl_us = ttl_us;
    cache->set_count = 1;
    while (cache->set_count * WAYS < entries) {
        cache->set_count *= 2;
    }
    cache->sets = calloc(cache->set_count, sizeof(*cache->sets));
    if (cache->sets == NULL) {
        free(cache);
        return NULL;
    }
    cache->seed = hash_seed();
    for (size_t i = 0; i < cache->set_count; i++) {
        pthread_mutex_init(&cache->sets[i].lock, NULL);
    }
    return cache;
}

void brief_cache_destroy(struct brief_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < cache->set_count; i++) {
        for (int way = 0; way < WAYS; way++) {
            free(cache->sets[i].ways[way].bytes);
        }
        pthread_mutex_destroy(&cache->sets[i].lock);
    }
    free(cache->sets);
    free(cache);
}

static uint64_t hash_key(const struct brief_cache *cache, char kind, struct str key)
{
    return hash_str(key, cache->seed ^ (unsigned char)kind);
}

static bool entry_is(const struct entry *entry, uint64_t hash, char kind, struct str key)
{
    return entry->bytes != NULL && entry->hash == hash && entry->kind == kind && entry->key_n == key.n &&
           memcmp(entry->bytes, key.p, key.n) == 0;
}

void *brief_cache_get(struct brief_cache *cache, char kind, struct str key, uint64_t now_us,
                      struct arena *arena, size_t *n)
{
    if (key.n > BRIEF_KEY_MAX) {
        return NULL;
    }
    uint64_t hash = hash_key(cache, kind, key);
    struct entry_set *set = &cache->sets[hash & (cache->set_count - 1)];
    void *copy = NULL;
    pthread_mutex_lock(&set->lock);
    for (int way = 0; way < WAYS; way++) {
        struct entry *entry = &set->ways[way];
        if (entry_is(entry, hash, kind, key) && now_us - entry->made_us < cache->ttl_us) {
            copy = arena_alloc(arena, entry->value_n + 1);
            if (copy != NULL) {
                memcpy(copy, entry->bytes + entry->key_n, entry->value_n);
                *n = entry->value_n;
            }
            entry->used_us = now_us;
            break;
        }
    }
    pthread_mutex_unlock(&set->lock);
    return copy;
}

/* How gladly an entry is given up; the highest goes. */
static uint64_t expendable(const struct brief_cache *cache, const struct entry *entry, uint64_t now_us)
{
    if (entry->bytes == NULL) {
        return UINT64_MAX;
    }
    if (now_us - entry->made_us >= cache->ttl_us) {
        return UINT64_MAX - 1;
    }
    uint64_t idle = now_us - entry->used_us;
    return entry->worthless ? idle + cache->ttl_us : idle;
}

static struct entry *choose(struct brief_cache *cache, struct entry_set *set, uint64_t hash, char kind,
                            struct str key, uint64_t now_us, bool worthless)
{
    struct entry *best = &set->ways[0];
    for (int way = 0; way < WAYS; way++) {
        struct entry *entry = &set->ways[way];
        if (entry_is(entry, hash, kind, key)) {
            return entry;
        }
        if (expendable(cache, entry, now_us) > expendable(cache, best, now_us)) {
            best = entry;
        }
    }
    bool taken = best->bytes != NULL && now_us - best->made_us < cache->ttl_us && !best->worthless;
    return taken && worthless ? NULL : best;
}

void brief_cache_put(struct brief_cache *cache, char kind, struct str key, uint64_t now_us, const void *value,
                     size_t n, bool worthless)
{
    if (key.n > BRIEF_KEY_MAX || n > BRIEF_VALUE_MAX) {
        return;
    }
    uint64_t hash = hash_key(cache, kind, key);
    struct entry_set *set = &cache->sets[hash & (cache->set_count - 1)];
    pthread_mutex_lock(&set->lock);
    struct entry *entry = choose(cache, set, hash, kind, key, now_us, worthless);
    if (entry != NULL && (entry->bytes == NULL || entry->size < key.n + n || entry->size > 2 * (key.n + n))) {
        free(entry->bytes);
        entry->size = (uint32_t)(key.n + n);
        entry->bytes = malloc(entry->size + 1);
    }
    if (entry != NULL && entry->bytes != NULL) {
        memcpy(entry->bytes, key.p, key.n);
        memcpy(entry->bytes + key.n, value, n);
        entry->hash = hash;
        entry->kind = kind;
        entry->key_n = (uint32_t)key.n;
        entry->value_n = (uint32_t)n;
        entry->made_us = entry->used_us = now_us;
        entry->worthless = worthless;
    }
    pthread_mutex_unlock(&set->lock);
}
