/* Other pools' requests in this process: see guest.h. Made by the main thread before the workers start, and
 * freed with the pool; read by every thread in between. */
#include "engine/work/guest.h"

#include <stdlib.h>

#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"

struct guest {
    const struct pool_conf *conf;
    struct access_log *log;
    struct metrics_block *block;
    pthread_mutex_t lock; /* makes one writer of the block's */
};

int pool_set_guests(struct pool *pool, const struct guest_conf *guests, uint32_t count)
{
    const struct scoreboard *board = pool->board;

    MUST(count == board->size.guests);
    pool->guests = calloc(count ? count : 1, sizeof(*pool->guests));
    if (!pool->guests) {
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct guest *guest = &pool->guests[i];

        guest->conf = guests[i].conf;
        guest->log = guests[i].log;
        guest->block = &board->blocks[board->size.blocks + i];
        pthread_mutex_init(&guest->lock, NULL);
    }
    pool->guest_count = count;
    return 0;
}

struct guest *pool_guest(const struct pool *pool, const struct pool_conf *conf)
{
    for (uint32_t i = 0; i < pool->guest_count; i++) {
        if (pool->guests[i].conf == conf) {
            return &pool->guests[i];
        }
    }
    return NULL;
}

const struct pool_conf *guest_conf(const struct guest *guest)
{
    return guest->conf;
}

struct access_log *guest_access_log(const struct guest *guest)
{
    return guest->log;
}

void guest_count(struct guest *guest, const struct request *r, uint64_t now_us)
{
    pthread_mutex_lock(&guest->lock);
    metrics_add_request(guest->block, r, now_us);
    pthread_mutex_unlock(&guest->lock);
}

void guest_count_event(struct guest *guest, enum pool_event event)
{
    atomic_fetch_add_explicit(&guest->block->events[event], 1, memory_order_relaxed);
}
