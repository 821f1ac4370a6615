/* Which workers get what: engine.h's functions on wait sets and queues. Any thread, as engine.h says of each.
 * Nothing here owns anything. */
#include <errno.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"

static struct waitset *set_of(const struct pool *pool, const struct waitable *waitable)
{
    return pool->lanes[waitable->reserved   ? KIND_PAGE
                       : waitable->resident ? KIND_RESIDENT
                                            : KIND_CLASSIC]
        .waitset;
}

/* NULL = only one set looks after it. */
static struct waitset *second_set_of(const struct pool *pool, const struct waitable *waitable)
{
    return waitable->shared && !waitable->reserved ? pool->lanes[KIND_RESIDENT].waitset : NULL;
}

int pool_reserve(struct pool *pool)
{
    struct lane *pages = &pool->lanes[KIND_PAGE];

    MUST(pool->started_us == 0); /* no worker exists: nobody else is looking */
    return pages->waitset ? 0 : lane_open(pages, false);
}

int pool_wait_add(struct pool *pool, struct waitable *waitable, enum wait_mode mode)
{
    struct waitset *set = set_of(pool, waitable), *second = second_set_of(pool, waitable);

    MUST(set);
    if (waitset_add(set, waitable, mode) != 0) {
        return -1;
    }
    if (second && waitset_add(second, waitable, mode) != 0) {
        int saved = errno;

        waitset_forget(set, waitable);
        errno = saved;
        return -1;
    }
    return 0;
}

int pool_wait_rearm(struct pool *pool, struct waitable *waitable)
{
    return waitset_rearm(set_of(pool, waitable), waitable);
}

void pool_wait_mute(struct pool *pool, struct waitable *waitable)
{
    waitset_mute(set_of(pool, waitable), waitable);
}

void pool_wait_forget(struct pool *pool, struct waitable *waitable)
{
    struct waitset *second = second_set_of(pool, waitable);

    waitset_forget(set_of(pool, waitable), waitable);
    if (second) {
        waitset_forget(second, waitable);
    }
}

void pool_wait_evict(struct pool *pool, void (*fn)(struct waitable *self))
{
    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        lane_evict(&pool->lanes[i], fn);
    }
}

static struct lane *lane_for(struct pool *pool, const struct request *r)
{
    return &pool->lanes[residents_want(pool, r) ? KIND_RESIDENT : KIND_CLASSIC];
}

/* After something was queued there. */
static void call_workers(struct pool *pool, struct lane *lane)
{
    lane_wake(lane);
    if (lane == &pool->lanes[KIND_CLASSIC] && pool->ondemand && lane_sleeping(lane) == 0) {
        pool_wake_control(pool); /* what is queued does not show in the wait set */
    }
}

enum submit_result pool_submit(struct pool *pool, struct submission *s)
{
    if (atomic_load(&pool->ending)) {
        return SUBMIT_DRAINING;
    }
    struct lane *lane = lane_for(pool, s->request);

    s->queued_us = clock_us();
    s->request->times.queued = s->queued_us;
    if (!queue_push(&lane->queue, s)) {
        metrics_count(pool->board, TOTAL_REJECTED, 1);
        return SUBMIT_FULL;
    }
    pool_count_accepted(pool);
    call_workers(pool, lane);
    return SUBMIT_OK;
}

void pool_pass(struct pool *pool, struct waitable *waitable, const struct request *r)
{
    struct lane *lane = lane_for(pool, r);

    waitable->resident = lane == &pool->lanes[KIND_RESIDENT];
    passed_put(&lane->passed, waitable);
    call_workers(pool, lane);
}

bool dispatch_has_queued(const struct pool *pool)
{
    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        if (lane_has_queued(&pool->lanes[i])) {
            return true;
        }
    }
    return false;
}

void pool_set_queue(struct pool *pool, unsigned capacity, uint64_t queue_wait_us)
{
    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        if (capacity > 0) {
            pool->lanes[i].queue.capacity = capacity;
        }
        pool->lanes[i].queue.wait_limit_us = queue_wait_us;
    }
}
