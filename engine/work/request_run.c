/* One request on its worker: what the scoreboard shows of it, the deadlines that watch it, the executor that
 * runs it, what it took. Worker's thread. A worker that was written off and comes back from where it was
 * stuck must not touch its front end any more: it sleeps for ever. */
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/frame.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/work/pool_private.h"
#include "engine/work/request.h"

/* Requests shorter than this get no system call for their CPU time (the status page's "last request cpu");
 * they are taken to be all CPU. The clock is read after so many of them anyway, which bounds that error. */
#define CPU_WORTH_US   1000
#define CPU_UNREAD_MAX 64

/* Relaxed, not atomic together: this thread is the only writer. */
static void add_one(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void describe(struct worker *w, struct request *r)
{
    struct scoreboard_slot *slot = w->slot;

    scoreboard_describe(slot, &(struct scoreboard_texts){
                                  .method = r->method,
                                  .uri = r->uri,
                                  .query = r->query,
                                  .script = r->script,
                                  .user = r->auth_user,
                              });
    atomic_store_explicit(&slot->content_length, r->content_length > 0 ? (uint64_t)r->content_length : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->accepted_us, r->times.accepted ? r->times.accepted : r->times.started,
                          memory_order_relaxed);
    add_one(&slot->requests);
    worker_set_state(w, WORKER_RUNNING);
}

/* php-fpm's "max active processes". A look at two counters says whether this may be a new maximum; only then
 * are the busy ones counted, because a worker that was told of a connection which another one took is awake,
 * but not busy. */
static void note_active(const struct worker *w)
{
    const struct pool *pool = w->pool;
    uint32_t most = atomic_load_explicit(&pool->board->numbers->active_max, memory_order_relaxed);

    uint32_t running = atomic_load_explicit(&pool->running, memory_order_relaxed) + pool->residents.count;
    uint32_t sleeping =
        lane_sleeping(&pool->lanes[KIND_CLASSIC]) + lane_sleeping(&pool->lanes[KIND_RESIDENT]);

    if (w->kind == KIND_PAGE || running <= most + sleeping) {
        return;
    }
    uint32_t busy = scoreboard_busy(pool->board);

    while (busy > most && !atomic_compare_exchange_weak(&pool->board->numbers->active_max, &most, busy)) {
    }
}

static void request_begin(struct worker *w, struct request *r)
{
    r->worker = w;
    r->times.started = clock_us();
    describe(w, r);
    note_active(w);
    pthread_mutex_lock(&w->lock);
    if (atomic_load_explicit(&w->lost, memory_order_relaxed)) { /* its client was told so */
        pthread_mutex_unlock(&w->lock);
        worker_sleep_for_ever(w);
    }
    w->request = r;
    atomic_store_explicit(&w->queued, NULL, memory_order_relaxed);
    w->interrupt_stage = 0;
    w->php_time_at_us = 0;
    deadline_arm(w, r->times.started);
    pthread_mutex_unlock(&w->lock);
}

static uint64_t thread_cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * CLOCK_US_PER_SECOND + (uint64_t)t.tv_nsec / 1000;
}

/* CPU time of the request that took so long by the clock on the wall. */
static uint64_t request_cpu_us(struct worker *w, uint64_t wall_us)
{
    if (wall_us < CPU_WORTH_US && ++w->cpu_unread < CPU_UNREAD_MAX) {
        w->cpu_guessed_us += wall_us;
        return wall_us;
    }
    uint64_t now = thread_cpu_us();
    uint64_t earlier = w->cpu_seen_us + w->cpu_guessed_us;
    uint64_t cpu = now > earlier ? now - earlier : 0;

    w->cpu_seen_us = now;
    w->cpu_guessed_us = 0;
    w->cpu_unread = 0;
    return cpu < wall_us ? cpu : wall_us;
}

static void note_peak(struct worker *w)
{
    struct scoreboard_numbers *numbers = w->pool->board->numbers;
    uint64_t peak = w->pool->executor->memory_peak ? w->pool->executor->memory_peak(w) : 0;
    uint64_t seen = atomic_load_explicit(&numbers->memory_peak, memory_order_relaxed);

    atomic_store_explicit(&w->slot->memory_peak, peak, memory_order_relaxed);
    while (peak > seen && !atomic_compare_exchange_weak(&numbers->memory_peak, &seen, peak)) {
    }
}

static void request_end(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool lost = atomic_load_explicit(&w->lost, memory_order_relaxed);

    if (!lost) { /* else the control thread still needs it, to answer its client */
        w->request = NULL;
    }
    w->terminate_at_us = w->slow_at_us = w->php_time_at_us = 0;
    w->interrupt_stage = 0;
    atomic_store(&w->trace_wanted, false);
    pthread_mutex_unlock(&w->lock);
    if (lost) {
        worker_sleep_for_ever(w);
    }
}

/* What C libraries have left unfinished. */
static void end_output_lines(const struct pool *pool)
{
    if (pool->conf->s.catch_workers_output &&
        write(STDERR_FILENO, WORKER_FLUSH_MARK, WORKER_FLUSH_MARK_SIZE) < 0) {
        log_limited(LEVEL_DEBUG, "nobody reads the workers' output");
    }
}

void request_run(struct worker *w, struct request *r)
{
    MUST(w == current_worker && r->magic == REQUEST_MAGIC && !w->request);
    if (w->kind != KIND_PAGE) {
        memory_wait(w->pool);
    }
    request_begin(w, r);
    if (resident_begin(w, r)) {
        w->pool->executor->run(w, r);
    }
    if (!r->finished) {
        request_finish(r);
    }
    uint64_t now = r->times.ended = clock_us();

    atomic_store_explicit(&w->slot->duration_us,
                          now - atomic_load_explicit(&w->slot->accepted_us, memory_order_relaxed),
                          memory_order_relaxed);
    /* Not since it was accepted: time in the queue is no CPU time, and would make each one worth a reading.
     */
    atomic_store_explicit(&w->slot->last_cpu_us, request_cpu_us(w, now - r->times.started),
                          memory_order_relaxed);
    if (now - r->times.started >= SCRIPT_FAST_US && !r->page) {
        script_table_took(&w->pool->board->scripts, r->script, r->uri, now - r->times.started);
    }
    note_peak(w);
    w->requests++;
    frame_end(); /* while the request still has its id */
    request_end(w);
    if (!r->io->settled || r->io->settled(r)) {
        pool_account(w->pool, w->counters, r);
    }
    end_output_lines(w->pool);
    memory_note(w->pool, now);
}
