/* Which workers get what: engine.h's functions on wait sets and queues. Any thread, as engine.h says of each.
 * Nothing here owns anything. */
#include <errno.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"

static struct waitset *set_of(const struct pool *pool, const struct waitable *w)
{
    return w->reserved ? pool->page_set : w->resident ? pool->residents.waitset : pool->waitset;
}

/* NULL = only one set looks after it. */
static struct waitset *second_set_of(const struct pool *pool, const struct waitable *w)
{
    return w->shared && !w->reserved ? pool->residents.waitset : NULL;
}

int pool_reserve(struct pool *pool)
{
    MUST(pool->started_us == 0); /* no worker exists: nobody else is looking */
    if (!pool->page_set) {
        pool->page_set = waitset_create(false);
    }
    return pool->page_set ? 0 : -1;
}

int pool_wait_add(struct pool *pool, struct waitable *w, enum wait_mode mode)
{
    MUST(!w->reserved || pool->page_set);
    struct waitset *second = second_set_of(pool, w);

    if (waitset_add(set_of(pool, w), w, mode) != 0) {
        return -1;
    }
    if (second && waitset_add(second, w, mode) != 0) {
        int saved = errno;

        waitset_forget(set_of(pool, w), w);
        errno = saved;
        return -1;
    }
    return 0;
}

int pool_wait_rearm(struct pool *pool, struct waitable *w)
{
    return waitset_rearm(set_of(pool, w), w);
}

void pool_wait_mute(struct pool *pool, struct waitable *w)
{
    waitset_mute(set_of(pool, w), w);
}

void pool_wait_forget(struct pool *pool, struct waitable *w)
{
    struct waitset *second = second_set_of(pool, w);

    waitset_forget(set_of(pool, w), w);
    if (second) {
        waitset_forget(second, w);
    }
}

void pool_wait_evict(struct pool *pool, void (*fn)(struct waitable *self))
{
    waitset_evict(pool->waitset, fn);
    if (pool->page_set) {
        waitset_evict(pool->page_set, fn);
    }
    if (pool->residents.waitset) {
        waitset_evict(pool->residents.waitset, fn);
    }
}

enum submit_result pool_submit(struct pool *pool, struct submission *s)
{
    if (atomic_load(&pool->ending)) {
        return SUBMIT_DRAINING;
    }
    bool resident = residents_want(pool, s->request);
    struct queue *queue = resident ? &pool->residents.queue : &pool->queue;
    struct waitset *set = resident ? pool->residents.waitset : pool->waitset;

    s->queued_us = clock_us();
    s->request->times.queued = s->queued_us;
    if (!queue_push(queue, s)) {
        metrics_count(pool->board, TOTAL_REJECTED, 1);
        return SUBMIT_FULL;
    }
    pool_count_accepted(pool);
    waitset_wake(set);
    if (!resident && pool->ondemand && waitset_sleeping(pool->waitset) == 0) {
        pool_wake_control(pool); /* what is queued does not show in the wait set */
    }
    return SUBMIT_OK;
}

void pool_set_queue(struct pool *pool, unsigned capacity, uint64_t queue_wait_us)
{
    pool->queue.capacity = pool->residents.queue.capacity = capacity;
    pool->queue.wait_limit_us = pool->residents.queue.wait_limit_us = queue_wait_us;
}

void pool_pass(struct pool *pool, struct waitable *w, const struct request *r)
{
    bool to_residents = residents_want(pool, r);
    struct waitset *set = to_residents ? pool->residents.waitset : pool->waitset;

    w->resident = to_residents;
    passed_put(to_residents ? &pool->residents.passed : &pool->passed, w);
    waitset_wake(set);
    if (!to_residents && pool->ondemand && waitset_sleeping(set) == 0) {
        pool_wake_control(pool); /* what is passed on does not show in the wait set */
    }
}
