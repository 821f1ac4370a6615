/* What is counted and logged of requests and connections: engine.h's counters, on the board's blocks and the
 * access log. Any thread, as engine.h says of each. */
#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/guest.h"
#include "engine/work/pool_private.h"

struct metrics_block *pool_counters(struct pool *pool)
{
    return metrics_claim(pool->board);
}

struct access_facts pool_access_facts(const struct request *r)
{
    const struct pool_conf *whose = r->guest ? guest_conf(r->guest) : r->pool->conf;

    return (struct access_facts){
        .pool = whose->name,
        .worker_tid = r->worker ? r->worker->tid : 0,
        .user_us = r->usage.user_us,
        .system_us = r->usage.system_us,
        .memory_peak = r->usage.memory_peak,
    };
}

static struct access_log *log_of(const struct request *r)
{
    return r->counted_elsewhere ? NULL : r->guest ? guest_access_log(r->guest) : r->pool->access_log;
}

static uint64_t since(uint64_t from, uint64_t to)
{
    return from && to > from ? to - from : 0;
}

void pool_account(struct pool *pool, struct metrics_block *counters, struct request *r)
{
    uint64_t now = clock_us();

    MUST(pool == r->pool);
    if (r->guest) {
        guest_count(r->guest, r, now);
    } else {
        metrics_add_request(counters, r, now);
    }
    if (log_of(r) && !r->logged) {
        uint64_t arrived = r->times.accepted ? r->times.accepted : r->times.started;
        uint64_t ended = r->times.finished ? r->times.finished : now;

        r->logged = true;
        struct access_facts facts = pool_access_facts(r);

        facts.duration_us = since(arrived, ended);
        facts.upstream_us = since(r->times.asked, r->times.answered ? r->times.answered : ended);
        access_log_write(log_of(r), r, &facts);
    }
}

bool request_is_logged(const struct request *r)
{
    return log_of(r) != NULL;
}

bool request_shows_usage(const struct request *r)
{
    return access_log_shows_usage(log_of(r));
}

void pool_count_events(struct pool *pool, enum pool_event event, uint64_t count)
{
    if (pool->counters) {
        atomic_fetch_add_explicit(&pool->counters->events[event], count, memory_order_relaxed);
    }
}

void pool_count_event(struct pool *pool, enum pool_event event)
{
    pool_count_events(pool, event, 1);
}

void request_count_event(const struct request *r, enum pool_event event)
{
    if (r->guest) {
        guest_count_event(r->guest, event);
    } else {
        pool_count_event(r->pool, event);
    }
}

void pool_count_connection(struct pool *pool, int change)
{
    if (pool->counters) {
        atomic_fetch_add(&pool->counters->connections, change);
    }
    if (change > 0 && atomic_load(&pool->resting)) {
        pool_wake_control(pool);
    }
}

void pool_count_accepted(struct pool *pool)
{
    atomic_fetch_add_explicit(&pool->board->numbers->accepted, 1, memory_order_relaxed);
}
