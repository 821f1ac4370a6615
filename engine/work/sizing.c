/* How many workers a pool has: php-fpm's rules, over threads that park instead of ending.
 *
 * Control thread. Once a second, as php-fpm's maintenance: `dynamic` keeps between min
 * and max spare workers idle, growing by 1, 2, 4 ... at a time; `ondemand` parks one worker that was idle too
 * long. A surplus thread parks, because ending a PHP thread runs every extension's shutdown code; a thread is
 * made only when none is parked.
 *
 * ondemand makes no thread before somebody waits. The control thread learns of it through event_fd, which
 * looks at the wait set itself while no worker is idle; whoever takes the last idle worker asks for that
 * look. */
#include <poll.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

#define SEEMS_BUSY_RATE 8
#define STAND_US        (5 * CLOCK_US_PER_SECOND)
/* A connection that a worker is just accepting still looks as if it waited. */
#define SETTLE_NS 200000

struct census {
    uint32_t idle, active, starting, parked;
    struct worker *longest_idle;
};

static struct census take_census(const struct pool *pool)
{
    struct census c = {0};

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct worker *w = pool->workers[i];

        if (!w || !worker_is_classic(w)) {
            continue;
        }
        if (atomic_load(&w->life) == LIFE_STARTING) {
            c.starting++;
            c.active++; /* php-fpm: what is not idle is active */
        } else if (atomic_load(&w->parked)) {
            c.parked++;
        } else if (worker_get_state(w) == WORKER_IDLE) {
            c.idle++;
            if (!c.longest_idle ||
                atomic_load(&w->idle_since_us) < atomic_load(&c.longest_idle->idle_since_us)) {
                c.longest_idle = w;
            }
        } else {
            c.active++;
        }
    }
    return c;
}

uint32_t sizing_first(const struct pool *pool)
{
    switch ((enum pm_kind)pool->conf->s.pm) {
    case PM_DYNAMIC: return (uint32_t)pool->conf->s.start_servers;
    case PM_ONDEMAND: return 0;
    case PM_STATIC:
    case PM_UNSET: break;
    }
    return (uint32_t)pool->conf->s.max_children;
}

/* -- more -- */

static bool unpark_one(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct worker *w = pool->workers[i];

        if (w && atomic_load(&w->parked) && !atomic_load(&w->lost)) {
            pthread_mutex_lock(&w->lock);
            atomic_store(&w->parked, false);
            worker_set_state(w, WORKER_IDLE);
            atomic_store(&w->idle_since_us, clock_us());
            atomic_fetch_add(&pool->running, 1);
            pthread_cond_signal(&w->unpark);
            pthread_mutex_unlock(&w->lock);
            return true;
        }
    }
    return false;
}

void sizing_grow(struct pool *pool, uint32_t count)
{
    static const struct worker_plan plan = {.kind = KIND_CLASSIC, .work = worker_loop};

    for (uint32_t i = 0; i < count; i++) {
        if (process_max_reached(pool)) {
            return;
        }
        if (!unpark_one(pool) && workers_add(pool, &plan) != 0) {
            return;
        }
    }
}

/* The others are made when the first answer, since one after the other copies PHP's tables. */
void sizing_begin(struct pool *pool)
{
    uint32_t first = sizing_first(pool), enough = pool->serve_from;

    sizing_grow(pool, enough > 0 && enough < first ? enough : first);
}

void sizing_complete(struct pool *pool)
{
    uint32_t first = sizing_first(pool), running = atomic_load(&pool->running);

    if (running < first) {
        sizing_grow(pool, first - running);
    }
}

/* -- less -- */

/* One idle worker parks: any. The one that wakes is the one that slept last; it does not matter. */
static void park_one(struct pool *pool)
{
    atomic_store(&pool->park_wanted, 1);
    lane_wake(&pool->lanes[KIND_CLASSIC]);
}

/* -- once a second -- */

static void warn_max(struct pool *pool, const char *setting)
{
    if (!pool->warned_max) {
        pool->warned_max = true;
        atomic_fetch_add(&pool->board->numbers->max_children_reached, 1);
        log_warning("[pool %s] server reached %s setting (%u), consider raising it", pool->conf->name,
                    setting, (unsigned)pool->conf->s.max_children);
    }
}

static void grow_dynamic(struct pool *pool, const struct census *c)
{
    const struct pool_settings *s = &pool->conf->s;
    uint32_t running = atomic_load(&pool->running);
    uint32_t most = (uint32_t)s->max_children;
    uint32_t count = (uint32_t)s->min_spare_servers - c->idle;

    if (running >= most) {
        warn_max(pool, "pm.max_children");
        pool->spawn_rate = 1;
        return;
    }
    if (pool->spawn_rate >= SEEMS_BUSY_RATE) {
        log_warning("[pool %s] seems busy (you may need to increase pm.start_servers, or "
                    "pm.min/max_spare_servers), spawning %u children, there are %u idle, and %u total "
                    "children",
                    pool->conf->name, pool->spawn_rate, c->idle, running);
    }
    count = count < pool->spawn_rate ? count : pool->spawn_rate;
    count = count < most - running ? count : most - running;
    pool->warned_max = false;
    sizing_grow(pool, count);
    log_debug("[pool %s] %u child(ren) have been created dynamically", pool->conf->name, count);
    if (pool->spawn_rate < (uint32_t)s->max_spawn_rate) {
        pool->spawn_rate *= 2;
    }
}

static void tick_dynamic(struct pool *pool, const struct census *c)
{
    if (c->idle > (uint32_t)pool->conf->s.max_spare_servers) {
        park_one(pool);
        pool->spawn_rate = 1;
    } else if (c->idle < (uint32_t)pool->conf->s.min_spare_servers) {
        grow_dynamic(pool, c);
    } else {
        pool->spawn_rate = 1;
    }
}

static void tick_ondemand(struct pool *pool, const struct census *c, uint64_t now)
{
    uint64_t timeout = (uint64_t)pool->conf->s.process_idle_timeout * CLOCK_US_PER_SECOND;

    if (c->longest_idle && atomic_load(&c->longest_idle->idle_since_us) + timeout < now) {
        park_one(pool);
    }
}

void sizing_tick(struct pool *pool, uint64_t now)
{
    struct census c = take_census(pool);
    uint32_t running = atomic_load(&pool->running);

    atomic_store(&pool->park_wanted, 0); /* an order that nobody took by now is out of date */
    switch ((enum pm_kind)pool->conf->s.pm) {
    case PM_DYNAMIC: tick_dynamic(pool, &c); break;
    case PM_ONDEMAND: tick_ondemand(pool, &c, now); break;
    case PM_STATIC:
    case PM_UNSET:
        /* Fewer only after a failure: a refused thread, process.max. */
        if (running < (uint32_t)pool->conf->s.max_children) {
            sizing_grow(pool, (uint32_t)pool->conf->s.max_children - running);
        }
        break;
    }
}

bool sizing_is_settled(const struct pool *pool, bool goes)
{
    const struct pool_settings *s = &pool->conf->s;
    struct census c = take_census(pool);
    uint32_t running = atomic_load(&pool->running), most = (uint32_t)s->max_children;

    if (c.active > 0) {
        return false;
    }
    switch ((enum pm_kind)s->pm) {
    case PM_ONDEMAND: return goes || c.idle == 0;
    case PM_DYNAMIC:
        return c.idle <= (uint32_t)s->max_spare_servers &&
               (c.idle >= (uint32_t)s->min_spare_servers || running >= most);
    case PM_STATIC:
    case PM_UNSET: break;
    }
    return running >= most;
}

/* -- ondemand -- */

static bool somebody_waits(const struct pool *pool)
{
    const struct lane *lane = &pool->lanes[KIND_CLASSIC];
    struct pollfd p = {.fd = waitset_fd(lane->waitset), .events = POLLIN};

    return lane_has_queued(lane) || poll(&p, 1, 0) > 0;
}

/* After a moment in which a worker that was already on its way has taken it. */
static bool somebody_still_waits(const struct pool *pool)
{
    if (!somebody_waits(pool)) {
        return false;
    }
    nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
    return somebody_waits(pool);
}

void sizing_demand(struct pool *pool)
{
    if (!pool->ondemand) {
        return;
    }
    atomic_store(&pool->watching, false);
    atomic_thread_fence(memory_order_seq_cst);
    struct census c = take_census(pool);
    uint32_t most = (uint32_t)pool->conf->s.max_children;

    /* One at a time: the next only when the last one has started and still somebody waits. */
    if (c.idle > 0 || c.starting > 0) {
        return;
    }
    if (somebody_still_waits(pool)) {
        if (atomic_load(&pool->running) >= most) {
            warn_max(pool, "max_children");
            return;
        }
        pool->warned_max = false;
        sizing_grow(pool, 1);
        log_debug("[pool %s] got accept without idle child available .... I started one", pool->conf->name);
        return;
    }
    if (atomic_load(&pool->running) < most) {
        wakeup_by_work(pool);
    }
}

/* A thread that does not come up waits for a lock that a crash has taken along. */
enum ability sizing_ability(const struct pool *pool, uint64_t now)
{
    enum ability found = UNABLE;

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker *w = pool->workers[i];

        int life = w && worker_is_classic(w) && !atomic_load(&w->lost) ? atomic_load(&w->life) : LIFE_ENDED;

        if (life == LIFE_SERVING) {
            return ABLE;
        }
        if (life == LIFE_STARTING && now < w->started_us + STAND_US) {
            found = ABLE_SOON;
        }
    }
    bool needs_none =
        pool->ondemand ? !somebody_waits(pool) : atomic_load(&pool->running) == 0 && pool->warned_process_max;

    return needs_none ? ABLE : found;
}
