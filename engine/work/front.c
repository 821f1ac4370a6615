/* The pool as its front ends see it: engine.h's functions on wait set, queue, counters. Any thread, as
 * engine.h says of each. Nothing here owns anything. */
#include <errno.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/telemetry/server_page.h"
#include "engine/work/guest.h"
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

bool (*_Atomic pool_on_hand_over)(const struct frontend *frontend, int fd, int kind);

bool pool_can_hand_over(const struct pool *pool)
{
    return atomic_load(&pool_on_hand_over) != NULL && !pool_finishing(pool);
}

bool pool_hand_over(const struct frontend *frontend, int fd, int kind)
{
    bool (*give)(const struct frontend *, int, int) = atomic_load(&pool_on_hand_over);

    return give && give(frontend, fd, kind);
}

bool pool_draining(const struct pool *pool)
{
    return atomic_load_explicit(&pool->draining, memory_order_relaxed);
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

/* -- what the server does -- */

void pool_set_server(struct pool *pool, const struct config *config, struct view *(*look)(void))
{
    pool->config = config;
    pool->look = look;
}

static struct view *look_at_own(const struct pool *pool)
{
    struct view *view = view_create(1);
    struct pool_view own;

    if (!view) {
        return NULL;
    }
    pool_view_init(&own, pool->conf);
    own.start_wall_us = own.counting_since_wall_us = pool->started_wall_us;
    view->partial = true;
    view->finishing = pool_finishing(pool);
    view_add_pool(view, &own);
    view_add_board(view, &(struct board_source){.fd = pool->board->fd,
                                                .size = pool->board->size,
                                                .process = getpid(),
                                                .generation = pool->generation,
                                                .draining = pool_draining(pool)});
    return view;
}

struct view *pool_look(const struct pool *pool)
{
    struct view *view = pool->look ? pool->look() : NULL;

    return view ? view : look_at_own(pool);
}

int pool_server_page(const struct pool *pool, enum server_page page, struct buf *out, const char **type)
{
    bool plain = page == SERVER_LIVE || page == SERVER_CONFIG;
    struct view *view = pool->config && !plain ? pool_look(pool) : NULL;
    int code = 503;

    *type = "application/json";
    if (pool->config && (view || plain)) {
        code = server_page(view, pool->config, page, out, type);
    }
    view_free(view);
    return code;
}

uint64_t pool_started_wall_us(const struct pool *pool)
{
    return pool->started_wall_us;
}

struct access_log *pool_access_log(const struct pool *pool)
{
    return pool->access_log;
}

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

void pool_count_reading(struct worker *worker)
{
    atomic_store_explicit(&worker->slot->accepted_us, clock_us(), memory_order_relaxed);
    worker_set_state(worker, WORKER_READING);
}
