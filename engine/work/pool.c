/* The pool: made and unmade, its start, its tick, and what it is. Its end is in pool_end.c.
 *
 * Control thread, except for what is only read (any thread). The pool owns its workers, its wait set and its
 * queue; configuration, scoreboard, logs and listeners are its caller's. Lost workers (crashed, or stuck
 * beyond their deadline) are kept in memory to the end: their threads may still look. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/cron.h"
#include "engine/work/pool_private.h"

#define PAGE_WORKERS       2
#define EXPIRE_INTERVAL_US 200000
#define START_LIMIT_US     (60 * CLOCK_US_PER_SECOND)
#define UNABLE_US          (2 * CLOCK_US_PER_SECOND)

/* -- create and destroy -- */

static void init_lanes(struct pool *pool)
{
    const struct pool_settings *s = &pool->conf->s;

    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        struct lane *lane = &pool->lanes[i];

        lane_init(lane);
        lane->queue.pending = pool->counters ? &pool->counters->pending : NULL;
        lane->queue.capacity = (unsigned)s->max_children * QUEUE_PER_WORKER;
        if (i == KIND_RESIDENT && s->worker_num > 0) {
            lane->queue.capacity = (unsigned)s->worker_num * QUEUE_PER_WORKER;
        }
    }
}

struct pool *pool_create(const struct pool_conf *conf, const struct executor *executor,
                         struct scoreboard *board, uint32_t generation)
{
    struct pool *pool = aligned_alloc(64, sizeof(*pool));

    if (!pool) {
        return NULL;
    }
    memset(pool, 0, sizeof(*pool));
    pool->conf = conf;
    pool->executor = executor;
    pool->board = board;
    pool->generation = generation;
    pool->started_wall_us = clock_wall_us();
    pool->ondemand = conf->s.pm == PM_ONDEMAND;
    pool->counters = pool_counters(pool);
    pool->slow_log_fd = pool->control_fd = pool->event_fd = -1;
    pool->spawn_rate = 1;
    pthread_mutex_init(&pool->gate, NULL);
    pthread_cond_init(&pool->gate_open, NULL);
    init_lanes(pool);
    worker_install_signals();
    if (lane_open(&pool->lanes[KIND_CLASSIC], pool->ondemand) != 0 || wakeup_open(pool) != 0 ||
        residents_open(pool) != 0) {
        log_sys(LEVEL_ERROR, "[pool %s] cannot make the wait set", conf->name);
        pool_destroy(pool);
        return NULL;
    }
    return pool;
}

bool pool_destroy(struct pool *pool)
{
    if (!pool) {
        return true;
    }
    /* A lost thread may still look at what it knows of the pool. The process ends soon. */
    if (pool->lost_count > 0) {
        return false;
    }
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        MUST(!pool->workers[i]);
    }
    wakeup_close(pool);
    file_watch_close(pool->files);
    residents_close(pool);
    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        lane_free(&pool->lanes[i]);
    }
    free(pool->guests);
    pthread_cond_destroy(&pool->gate_open);
    pthread_mutex_destroy(&pool->gate);
    free(pool->workers);
    if (!pool->cron) { /* its thread looks at open and draining until the process ends */
        free(pool);
    }
    return true;
}

void pool_set_logs(struct pool *pool, struct access_log *access_log, int slow_log_fd)
{
    pool->access_log = access_log;
    atomic_store(&pool->slow_log_fd, slow_log_fd);
}

/* -- start -- */

/* How many are still starting; *failed: one was refused, or has crashed. */
static uint32_t starting(struct pool *pool, bool *failed)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i]) {
            crash_collect(pool, pool->workers[i], clock_us());
        }
        int life = pool->workers[i] ? atomic_load(&pool->workers[i]->life) : LIFE_SERVING;

        count += life == LIFE_STARTING;
        *failed |= life == LIFE_FAILED || pool->lost_count > 0;
    }
    return count;
}

static void add_pages(struct pool *pool, uint32_t count)
{
    static const struct worker_plan plan = {.kind = KIND_PAGE, .work = worker_loop};

    while (count-- > 0) {
        workers_add(pool, &plan);
    }
}

void pool_serve_from(struct pool *pool, uint32_t workers)
{
    pool->serve_from = workers;
}

int pool_start(struct pool *pool)
{
    uint64_t limit = clock_us() + START_LIMIT_US;
    bool failed = false;

    pool->started_us = clock_us();
    pool->next_sizing_us = pool->started_us + CLOCK_US_PER_SECOND;
    sizing_begin(pool);
    script_files_open(pool);
    memory_start(pool);
    upkeep_sample(pool);
    if (pool->lanes[KIND_PAGE].waitset) {
        add_pages(pool, PAGE_WORKERS);
    }
    if (pool->executor->meanwhile) {
        pool->executor->meanwhile();
    }
    residents_add(pool, pool->residents.count);
    tasks_start(pool);
    while (starting(pool, &failed) > 0 && !failed && clock_us() < limit) {
        wakeup_wait(pool, 100);
    }
    if (failed || starting(pool, &failed) > 0) {
        log_error("[pool %s] %s", pool->conf->name,
                  failed ? "a worker could not be initialised" : "workers do not become ready");
        return -1;
    }
    if (sizing_first(pool) > 0 && atomic_load(&pool->running) == 0 && !pool->warned_process_max) {
        log_error("[pool %s] no worker could be started", pool->conf->name);
        return -1;
    }
    sizing_demand(pool);
    return 0;
}

void pool_open(struct pool *pool)
{
    pthread_mutex_lock(&pool->gate);
    atomic_store(&pool->open, true);
    pthread_cond_broadcast(&pool->gate_open);
    pthread_mutex_unlock(&pool->gate);
}

/* -- tick -- */

static void tick_worker(struct pool *pool, struct worker *w, uint64_t now)
{
    int life = atomic_load(&w->life);

    if (life == LIFE_FAILED) {
        log_limited(LEVEL_ERROR, "[pool %s] a worker could not be initialised", pool->conf->name);
    }
    if (life == LIFE_FAILED || life == LIFE_ENDED) {
        workers_reap(pool, w);
        return;
    }
    crash_collect(pool, w, now);
    if (pool->workers[w->id] == w) {
        deadline_check(pool, w, now);
    }
}

static uint32_t take(uint32_t *count)
{
    uint32_t had = *count;

    *count = 0;
    return had;
}

static void replace_lost(struct pool *pool)
{
    add_pages(pool, take(&pool->lost_pages));
    residents_add(pool, take(&pool->lost_residents));
    sizing_grow(pool, take(&pool->lost_classic));
    tasks_replace(pool);
}

/* Once, when requests are served already. */
static void end_start(struct pool *pool)
{
    if (pool->started || !atomic_load(&pool->open)) {
        return;
    }
    pool->started = true;
    sizing_complete(pool);
    if (pool->executor->afterwards) {
        pool->executor->afterwards();
    }
}

/* A worker that starts keeps the pool from being lost, but proves nothing: one after the other may fail. */
static void look_for_able(struct pool *pool, uint64_t now)
{
    enum ability ability = sizing_ability(pool, now);

    if (ability == ABLE) {
        pool->unable_since_us = 0;
    } else if (pool->unable_since_us == 0) {
        pool->unable_since_us = now;
    }
    pool->is_lost = ability == UNABLE && now - pool->unable_since_us > UNABLE_US;
}

bool pool_is_lost(const struct pool *pool)
{
    return pool->is_lost;
}

static void expire_queue(struct pool *pool, struct queue *queue, uint64_t now)
{
    struct submission *s;

    if (queue->wait_limit_us == 0) {
        return;
    }
    while ((s = queue_pop_older(queue, now - queue->wait_limit_us)) != NULL) {
        metrics_count(pool->board, TOTAL_REJECTED, 1);
        s->request->status = 503;
        pool_account(pool, pool->counters, s->request);
        s->expired(s->request);
    }
}

static void expire_lanes(struct pool *pool, uint64_t now)
{
    bool connections = now >= pool->next_expire_us;

    for (int i = 0; i < KINDS_WITH_LANE; i++) {
        expire_queue(pool, &pool->lanes[i].queue, now);
        if (connections) {
            lane_expire(&pool->lanes[i], now);
        }
    }
    if (connections) {
        pool->next_expire_us = now + EXPIRE_INTERVAL_US;
    }
}

void pool_tick(struct pool *pool)
{
    uint64_t now = clock_us();

    wakeup_quiet(pool);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i]) {
            tick_worker(pool, pool->workers[i], now);
        }
    }
    for (uint32_t i = 0; i < pool->lost_count; i++) { /* one that was written off may still crash */
        crash_collect(pool, pool->lost[i], now);
    }
    lost_tick(pool, now);
    expire_lanes(pool, now);
    residents_sample(pool);
    if (atomic_load(&pool->ending)) {
        return;
    }
    replace_lost(pool);
    end_start(pool); /* after it: who is replaced is not missing */
    look_for_able(pool, now);
    script_files_tick(pool, now);
    memory_tick(pool, now);
    bool full = memory_holds(pool, now); /* another worker would be of no use, and cost memory */

    if (!full) {
        sizing_demand(pool);
    }
    if (now >= pool->next_sizing_us) {
        pool->next_sizing_us = now + CLOCK_US_PER_SECOND;
        if (!full) {
            sizing_tick(pool, now);
        }
        residents_tick(pool, now);
        stuck_tick(pool, now);
        upkeep_tick(pool, now);
    }
}

/* One that looks for changes would not see them; one that goes has its list looked at when it comes back. */
static bool may_rest(const struct pool *pool, bool goes)
{
    return goes || !pool->executor->looks || !pool->executor->looks();
}

static bool is_at_rest(const struct pool *pool, bool goes)
{
    return pool->counters && atomic_load(&pool->counters->connections) == 0 && !dispatch_has_queued(pool) &&
           pool->lost_count == 0 && pool->files_changed_us == 0 && !atomic_load(&pool->swap_reason) &&
           pool->unable_since_us == 0 && atomic_load(&pool->memory.held_until_us) == 0 &&
           residents_rest(pool) && sizing_is_settled(pool, goes) && may_rest(pool, goes);
}

/* Whoever accepts counts the connection and then asks whether we rest; here it is the other way round. */
bool pool_rest(struct pool *pool, bool goes)
{
    atomic_store(&pool->resting, true);
    if (!is_at_rest(pool, goes)) {
        atomic_store(&pool->resting, false);
    }
    return atomic_load(&pool->resting);
}

void pool_stir(struct pool *pool)
{
    atomic_store(&pool->resting, false);
}

uint64_t pool_accepted(const struct pool *pool)
{
    return atomic_load(&pool->board->numbers->accepted);
}

/* -- what it is -- */

bool pool_draining(const struct pool *pool)
{
    return atomic_load_explicit(&pool->draining, memory_order_relaxed);
}

bool pool_leaving(const struct pool *pool)
{
    return atomic_load_explicit(&pool->leaving, memory_order_relaxed);
}

bool pool_finishing(const struct pool *pool)
{
    return atomic_load(&pool->finishing);
}

const struct pool_conf *pool_conf(const struct pool *pool)
{
    return pool->conf;
}

const struct executor *pool_executor(const struct pool *pool)
{
    return pool->executor;
}

struct scoreboard *pool_scoreboard(const struct pool *pool)
{
    return pool->board;
}

uint32_t pool_generation(const struct pool *pool)
{
    return pool->generation;
}

uint64_t pool_started_wall_us(const struct pool *pool)
{
    return pool->started_wall_us;
}

struct access_log *pool_access_log(const struct pool *pool)
{
    return pool->access_log;
}

/* -- what front ends keep here -- */

static int place_of(const struct frontend *frontend)
{
    int i = 0;

    while (frontends[i] && frontends[i] != frontend) {
        i++;
    }
    MUST(frontends[i]);
    return i;
}

void *pool_front(const struct pool *pool, const struct frontend *frontend)
{
    return pool->front[place_of(frontend)];
}

void pool_set_front(struct pool *pool, const struct frontend *frontend, void *data)
{
    pool->front[place_of(frontend)] = data;
}
