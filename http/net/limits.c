/* What a client address may do: requests per window, connections at once. The tables have a fixed size,
 * whatever number of addresses comes.
 *
 * Requests: sets of eight entries, found by a seeded hash. A full set gives up an entry whose window is over,
 * else the one with the fewest requests, so a flood of new addresses can't wipe out the memory of those that
 * ask most. Connections: an entry lives as long as its address has a connection, so entries need no eviction.
 *
 * Any thread. Rate limit: one lock for a group of sets; connections: one lock. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "http/net/limits.h"

#define WAYS  8
#define LOCKS 64

/* -- keys: IPv4 addresses (also mapped ones) whole, IPv6 by /64 -- */

struct key {
    uint64_t high;
    uint32_t low, family; /* family 0: a free entry */
};

/* False: a peer without an address. */
static bool key_of(const struct sockaddr_storage *client, struct key *out)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memset(out, 0, sizeof(*out));
    if (client->ss_family == AF_INET) {
        out->family = 4;
        memcpy(&out->low, &((const struct sockaddr_in *)client)->sin_addr, 4);
        return true;
    }
    if (client->ss_family != AF_INET6) {
        return false;
    }
    const unsigned char *bytes = ((const struct sockaddr_in6 *)client)->sin6_addr.s6_addr;
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        out->family = 4;
        memcpy(&out->low, bytes + 12, 4);
    } else {
        out->family = 6;
        memcpy(&out->high, bytes, 8);
    }
    return true;
}

static bool key_eq(struct key a, struct key b)
{
    return a.high == b.high && a.low == b.low && a.family == b.family;
}

static uint64_t key_hash(struct key key, uint64_t seed)
{
    uint64_t hash = (key.high ^ seed) * 0xbf58476d1ce4e5b9ULL;
    hash ^= hash >> 29;
    hash = (hash ^ key.low ^ (uint64_t)key.family << 32) * 0x94d049bb133111ebULL;
    return hash ^ hash >> 31;
}

/* -- requests -- */

struct rate_entry {
    struct key key;
    uint64_t since_us; /* window: its beginning; bucket: when it will be full again */
    uint32_t count;    /* requests in this window (bucket: since it was last full) */
};

struct rate_limit {
    uint32_t requests;
    uint64_t window_us, seed;
    bool bucket;
    size_t set_count;             /* a power of two */
    pthread_mutex_t locks[LOCKS]; /* set i is guarded by lock i % LOCKS */
    struct rate_entry *entries;
};

static struct rate_limit *create(uint32_t requests, uint64_t window_us, uint32_t table_size, bool bucket)
{
    struct rate_limit *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return NULL;
    }
    r->requests = requests;
    r->window_us = window_us;
    r->bucket = bucket;
    r->seed = hash_seed();
    r->set_count = 1;
    while (r->set_count * WAYS < table_size) {
        r->set_count *= 2;
    }
    r->entries = calloc(r->set_count * WAYS, sizeof(*r->entries));
    if (r->entries == NULL) {
        free(r);
        return NULL;
    }
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&r->locks[i], NULL);
    }
    return r;
}

struct rate_limit *rate_limit_create(uint32_t requests, uint64_t window_us, uint32_t table_size)
{
    return create(requests, window_us, table_size, false);
}

struct rate_limit *rate_limit_create_bucket(uint32_t requests, uint64_t window_us, uint32_t table_size)
{
    return create(requests, window_us, table_size, true);
}

void rate_limit_destroy(struct rate_limit *r)
{
    if (r == NULL) {
        return;
    }
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_destroy(&r->locks[i]);
    }
    free(r->entries);
    free(r);
}

static uint32_t seconds_up(uint64_t us)
{
    return (uint32_t)((us + 999999) / 1000000);
}

/* Nothing that this entry remembers matters any more. */
static bool entry_over(const struct rate_limit *r, const struct rate_entry *entry, uint64_t now_us)
{
    if (entry->key.family == 0) {
        return true;
    }
    return now_us >= entry->since_us + (r->bucket ? 0 : r->window_us);
}

static struct rate_entry *entry_for(const struct rate_limit *r, struct rate_entry *set, struct key key,
                                    uint64_t now_us)
{
    struct rate_entry *victim = NULL;
    for (int i = 0; i < WAYS; i++) {
        if (key_eq(set[i].key, key)) {
            return &set[i];
        }
        bool over = entry_over(r, &set[i], now_us), victim_over = victim && entry_over(r, victim, now_us);
        if (victim == NULL || (over && !victim_over) ||
            (over == victim_over && set[i].count < victim->count)) {
            victim = &set[i];
        }
    }
    victim->key = key;
    victim->since_us = now_us;
    victim->count = 0;
    return victim;
}

static struct rate_verdict take_window(const struct rate_limit *r, struct rate_entry *entry, uint64_t now_us)
{
    if (now_us < entry->since_us) {
        now_us = entry->since_us; /* another thread looked at the clock later, and was here before us */
    }
    if (now_us >= entry->since_us + r->window_us) {
        entry->since_us = now_us;
        entry->count = 0;
    }
    struct rate_verdict verdict = {entry->count < r->requests, r->requests, 0,
                                   seconds_up(entry->since_us + r->window_us - now_us)};
    entry->count += verdict.allowed;
    verdict.remaining = r->requests - entry->count;
    return verdict;
}

/* The bucket's level as a point in time: a request moves the moment at which it will be full by one interval,
 * and that moment may be at most a window ahead. Exact, with one number and no rounding over time. */
static struct rate_verdict take_token(const struct rate_limit *r, struct rate_entry *entry, uint64_t now_us)
{
    if (entry->since_us <= now_us) {
        entry->since_us = now_us;
        entry->count = 0;
    }
    uint64_t interval = r->window_us / r->requests;
    uint64_t ahead = entry->since_us - now_us, most = interval * r->requests;
    ahead = ahead < most ? ahead : most; /* more: as above */
    struct rate_verdict verdict = {ahead + interval <= most, r->requests, 0, 0};
    if (verdict.allowed) {
        entry->since_us += interval;
        entry->count++;
        ahead += interval;
    }
    verdict.remaining = (uint32_t)((most - ahead) / interval);
    verdict.reset_s = seconds_up(verdict.allowed ? ahead : ahead + interval - most);
    return verdict;
}

struct rate_verdict rate_limit_take(struct rate_limit *r, const struct sockaddr_storage *client,
                                    uint64_t now_us)
{
    struct key key;
    if (r->requests == 0 || r->window_us < r->requests || !key_of(client, &key)) {
        return (struct rate_verdict){true, r->requests, r->requests, 0};
    }
    size_t index = key_hash(key, r->seed) & (r->set_count - 1);
    pthread_mutex_t *lock = &r->locks[index % LOCKS];
    pthread_mutex_lock(lock);
    struct rate_entry *entry = entry_for(r, r->entries + index * WAYS, key, now_us);
    struct rate_verdict verdict = r->bucket ? take_token(r, entry, now_us) : take_window(r, entry, now_us);
    pthread_mutex_unlock(lock);
    return verdict;
}

/* -- connections -- */

struct conn_entry {
    struct key key;
    uint32_t count;
    struct conn_entry *next; /* in its bucket, or in the free list */
};

struct conn_limit {
    uint32_t per_address;
    uint64_t seed;
    size_t bucket_count;  /* a power of two */
    pthread_mutex_t lock; /* guards all below */
    struct conn_entry **buckets, *entries, *unused;
};

struct conn_limit *conn_limit_create(uint32_t per_address, uint32_t table_size)
{
    struct conn_limit *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return NULL;
    }
    c->per_address = per_address;
    c->seed = hash_seed();
    c->bucket_count = 1;
    while (c->bucket_count < table_size) {
        c->bucket_count *= 2;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->buckets = calloc(c->bucket_count, sizeof(struct conn_entry *));
    c->entries = calloc(table_size, sizeof(*c->entries));
    if (c->buckets == NULL || c->entries == NULL) {
        conn_limit_destroy(c);
        return NULL;
    }
    for (uint32_t i = 0; i < table_size; i++) {
        c->entries[i].next = c->unused;
        c->unused = &c->entries[i];
    }
    return c;
}

void conn_limit_destroy(struct conn_limit *c)
{
    if (c != NULL) {
        pthread_mutex_destroy(&c->lock);
        free(c->buckets);
        free(c->entries);
        free(c);
    }
}

/* Lock held: where the pointer to this key's entry is, or would be. */
static struct conn_entry **conn_place(struct conn_limit *c, struct key key)
{
    struct conn_entry **at = &c->buckets[key_hash(key, c->seed) & (c->bucket_count - 1)];
    while (*at != NULL && !key_eq((*at)->key, key)) {
        at = &(*at)->next;
    }
    return at;
}

bool conn_limit_enter(struct conn_limit *c, const struct sockaddr_storage *client)
{
    struct key key;
    if (c->per_address == 0 || !key_of(client, &key)) {
        return true;
    }
    pthread_mutex_lock(&c->lock);
    struct conn_entry **at = conn_place(c, key);
    if (*at == NULL && c->unused != NULL) {
        struct conn_entry *entry = c->unused;
        c->unused = entry->next;
        *entry = (struct conn_entry){.key = key};
        *at = entry;
    }
    bool allowed = *at != NULL && (*at)->count < c->per_address;
    if (allowed) {
        (*at)->count++;
    }
    pthread_mutex_unlock(&c->lock);
    return allowed;
}

void conn_limit_leave(struct conn_limit *c, const struct sockaddr_storage *client)
{
    struct key key;
    if (c->per_address == 0 || !key_of(client, &key)) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    struct conn_entry **at = conn_place(c, key), *entry = *at;
    if (entry != NULL && --entry->count == 0) {
        *at = entry->next;
        entry->next = c->unused;
        c->unused = entry;
    }
    pthread_mutex_unlock(&c->lock);
}
