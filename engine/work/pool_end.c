/* The pool's end: it drains, is interrupted at the drain's deadline, and stops. Control thread. */
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/work/cron.h"
#include "engine/work/pool_private.h"

#define STOP_WAIT_US      200000
#define RESIDENTS_WAIT_US (2 * CLOCK_US_PER_SECOND) /* their scripts come to an end of their own */

/* The front ends stop bringing new work. Workers stay: connections that were told to go may still send the
 * request that was on its way, and it is served. */
void pool_drain(struct pool *pool)
{
    atomic_store(&pool->draining, true);
}

void pool_leave(struct pool *pool)
{
    atomic_store(&pool->leaving, true);
}

void pool_finish(struct pool *pool)
{
    atomic_store(&pool->finishing, true);
}

void pool_interrupt_all(struct pool *pool)
{
    uint64_t now = clock_us();

    cron_terminate(pool->cron);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i]) {
            deadline_force(pool, pool->workers[i], now);
        }
    }
}

/* A script that boots is owed to nobody. */
static bool is_idle(const struct worker *w)
{
    enum worker_state state = worker_get_state(w);

    return state == WORKER_IDLE || state == WORKER_PARKED || (w->resident && state == WORKER_CREATING);
}

bool pool_idle(const struct pool *pool)
{
    if (dispatch_has_queued(pool) || cron_running(pool->cron) > 0) {
        return false;
    }
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker *w = pool->workers[i];

        if (w && !atomic_load(&w->lost) && !is_idle(w)) {
            return false;
        }
    }
    return true;
}

static bool finishes_a_request(const struct pool *pool)
{
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker *w = pool->workers[i];

        if (w && !atomic_load(&w->lost) && worker_get_state(w) == WORKER_FINISHING) {
            return true;
        }
    }
    return false;
}

void pool_settle(const struct pool *pool, unsigned ms)
{
    for (uint64_t end = clock_us() + (uint64_t)ms * 1000; finishes_a_request(pool) && clock_us() < end;) {
        usleep(1000);
    }
}

/* Orders everybody to end: sleepers one after the other, parked ones each by its own condition. */
static void order_end(struct pool *pool)
{
    atomic_store(&pool->ending, true);
    pool_open(pool);
    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        lane_wake(&pool->lanes[i]);
    }
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct worker *w = pool->workers[i];

        if (w && atomic_load(&w->parked)) {
            pthread_mutex_lock(&w->lock);
            if (atomic_load(&w->parked)) {
                atomic_store(&w->parked, false);
                atomic_fetch_add(&pool->running, 1);
            }
            pthread_cond_signal(&w->unpark);
            pthread_mutex_unlock(&w->lock);
        }
    }
}

bool pool_stop(struct pool *pool)
{
    uint64_t limit = clock_us() + (pool->residents.count > 0 ? RESIDENTS_WAIT_US : STOP_WAIT_US);

    for (;;) {
        uint32_t left = 0;

        order_end(pool); /* again each time: one may just have parked */
        pool_tick(pool);
        for (uint32_t i = 0; i < pool->worker_count; i++) {
            left += pool->workers[i] != NULL;
        }
        if (left == 0 || clock_us() >= limit) {
            return left == 0;
        }
        wakeup_wait(pool, 10);
    }
}
