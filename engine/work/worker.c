/* A worker's thread: from its first instruction to its last, and one request in between.
 *
 * Everything here runs on the worker's own thread, except create, start, destroy. The loop: first the queue,
 * then the wait set; before a long sleep the executor gives memory back; an order to park or to end is obeyed
 * between requests. A worker that was written off and comes back from where it was stuck must not touch its
 * front end any more: it sleeps for ever. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/work/metrics.h"
#include "engine/work/pool_private.h"
#include "engine/work/request.h"

#define ARENA_LIMIT (16u << 20)
/* Idle for so long: the executor gives its heap back. */
#define IDLE_MS 2000
/* Requests shorter than this get no system call for their CPU time (the status page's "last request cpu");
 * they are taken to be all CPU. The clock is read after so many of them anyway, which bounds that error. */
#define CPU_WORTH_US   1000
#define CPU_UNREAD_MAX 64

_Thread_local struct worker *current_worker;
_Thread_local struct cgi_rules cgi_rules;

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

/* -- making and starting ------------------------------------------------------------------------------- */

struct worker *worker_create(struct pool *pool, int id, bool page)
{
    struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) / 64 * 64);

    if (!w) {
        return NULL;
    }
    memset(w, 0, sizeof(*w));
    w->magic = WORKER_MAGIC;
    w->id = id;
    w->pool = pool;
    w->page = page;
    w->waitset = page ? pool->page_set : pool->waitset;
    w->abandon_status = 500;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->unpark, NULL);
    w->arena = arena_create(ARENA_LIMIT);
    w->alternate_stack = mmap(NULL, WORKER_ALT_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w->slot_index = page ? -1 : scoreboard_claim(pool->board, getpid(), pool->generation);
    if (!w->arena || w->alternate_stack == MAP_FAILED || (w->slot_index < 0 && !page)) {
        worker_destroy(w);
        return NULL;
    }
    w->slot = page ? &w->page_slot : &pool->board->slots[w->slot_index];
    w->counters = page ? pool_counters(pool) : metrics_slot(pool->board->metrics, (uint32_t)w->slot_index);
    return w;
}

void worker_destroy(struct worker *w)
{
    if (w->slot_index >= 0) {
        scoreboard_release(w->pool->board, w->slot_index);
    }
    if (w->alternate_stack != MAP_FAILED) {
        munmap(w->alternate_stack, WORKER_ALT_BYTES);
    }
    if (w->arena) {
        arena_destroy(w->arena);
    }
    pthread_cond_destroy(&w->unpark);
    pthread_mutex_destroy(&w->lock);
    w->magic = 0;
    free(w);
}

static void on_interrupt(int signal)
{
    (void)signal; /* its delivery is its meaning: the system call returns EINTR */
}

static void on_trace(int signal)
{
    (void)signal;
    if (current_worker) {
        deadline_answer_trace(current_worker);
    }
}

void worker_install_signals(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigemptyset(&action.sa_mask);
    sigaction(WORKER_SIGNAL_INTERRUPT, &action, NULL);
    action.sa_handler = on_trace;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaction(WORKER_SIGNAL_TRACE, &action, NULL);
}

/* Blocked: all that is meant for the process. Open: faults, our two, and SIGRTMIN, which a PHP with execution
 * timers sends to its own threads. */
static void worker_signal_set(sigset_t *blocked)
{
    sigfillset(blocked);
    for (size_t i = 0; i < sizeof(fatal_signals) / sizeof(*fatal_signals); i++) {
        sigdelset(blocked, fatal_signals[i]);
    }
    sigdelset(blocked, WORKER_SIGNAL_INTERRUPT);
    sigdelset(blocked, WORKER_SIGNAL_TRACE);
    sigdelset(blocked, SIGRTMIN);
}

static void *worker_main(void *arg);

int worker_start(struct worker *w)
{
    pthread_attr_t attributes;
    sigset_t blocked, before;
    int error = pthread_attr_init(&attributes);

    if (error) {
        return error;
    }
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    pthread_attr_setguardsize(&attributes, WORKER_GUARD_BYTES);
    worker_signal_set(&blocked);
    w->started_us = clock_us();
    /* The thread is born with its mask: no signal can reach it before. */
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    error = pthread_create(&w->thread, &attributes, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* -- states and deadlines that others ask for ---------------------------------------------------------- */

void worker_set_state(struct worker *w, enum worker_state state)
{
    atomic_store_explicit(&w->slot->state, state, memory_order_release);
}

enum worker_state worker_get_state(const struct worker *w)
{
    return (enum worker_state)atomic_load_explicit(&w->slot->state, memory_order_acquire);
}

void worker_set_php_time(struct worker *w, int64_t seconds)
{
    uint64_t at = seconds > 0 ? clock_us() + (uint64_t)seconds * CLOCK_US_PER_SECOND : 0;

    pthread_mutex_lock(&w->lock);
    w->php_time_at_us = at;
    pthread_mutex_unlock(&w->lock);
}

bool worker_heartbeat(struct worker *w, int64_t seconds)
{
    if (seconds <= 0 || seconds > w->pool->conf->s.request_terminate_timeout) {
        return false;
    }
    uint64_t at = clock_us() + (uint64_t)seconds * CLOCK_US_PER_SECOND;

    pthread_mutex_lock(&w->lock);
    bool moved = w->terminate_at_us != 0 && w->interrupt_stage == 0;

    if (moved) {
        w->terminate_at_us = at;
    }
    pthread_mutex_unlock(&w->lock);
    return moved;
}

/* -- one request --------------------------------------------------------------------------------------- */

/* Relaxed, not atomic together: this thread is the only writer. */
static void add_one(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static _Noreturn void sleep_for_ever(void)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (;;) {
        pause();
    }
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
    uint32_t most = atomic_load_explicit(&pool->board->active_max, memory_order_relaxed);

    if (w->page || atomic_load_explicit(&pool->running, memory_order_relaxed) <=
                       most + waitset_sleeping(pool->waitset)) {
        return;
    }
    uint32_t busy = scoreboard_busy(pool->board);

    while (busy > most && !atomic_compare_exchange_weak(&pool->board->active_max, &most, busy)) {
    }
}

static void request_begin(struct worker *w, struct request *r)
{
    r->worker = w;
    r->times.started = clock_us();
    describe(w, r);
    note_active(w);
    pthread_mutex_lock(&w->lock);
    w->request = r;
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
    struct scoreboard *board = w->pool->board;
    uint64_t peak = w->pool->executor->memory_peak ? w->pool->executor->memory_peak(w) : 0;
    uint64_t seen = atomic_load_explicit(&board->memory_peak, memory_order_relaxed);

    atomic_store_explicit(&w->slot->memory_peak, peak, memory_order_relaxed);
    while (peak > seen && !atomic_compare_exchange_weak(&board->memory_peak, &seen, peak)) {
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
        sleep_for_ever();
    }
}

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
    request_begin(w, r);
    w->pool->executor->run(w, r);
    if (!r->finished) {
        request_finish(r);
    }
    uint64_t now = clock_us();

    atomic_store_explicit(&w->slot->duration_us,
                          now - atomic_load_explicit(&w->slot->accepted_us, memory_order_relaxed),
                          memory_order_relaxed);
    /* Not since it was accepted: time in the queue is no CPU time, and would make each one worth a reading.
     */
    atomic_store_explicit(&w->slot->last_cpu_us, request_cpu_us(w, now - r->times.started),
                          memory_order_relaxed);
    note_peak(w);
    w->requests++;
    request_end(w);
    pool_account(w->pool, w->counters, r);
    end_output_lines(w->pool);
}

/* -- the loop ------------------------------------------------------------------------------------------ */

static void run_submission(struct worker *w, struct submission *s)
{
    struct request *r = s->request;
    void (*done)(struct request *) = s->done;

    r->times.queued = s->queued_us;
    /* A client that left while its request waited costs no script: opening and resetting streams is cheap. */
    if (!atomic_load_explicit(&r->gone, memory_order_relaxed)) {
        request_run(w, r);
    }
    done(r);
}

/* Takes one of the orders to park, if there is one. */
static bool take_park_order(struct pool *pool)
{
    uint32_t wanted = atomic_load(&pool->park_wanted);

    while (wanted > 0) {
        if (atomic_compare_exchange_weak(&pool->park_wanted, &wanted, wanted - 1)) {
            return true;
        }
    }
    return false;
}

/* Between two requests. */
static void worked(struct worker *w)
{
    arena_reset(w->arena);
    atomic_store_explicit(&w->idle_since_us, clock_coarse_us(), memory_order_relaxed);
}

static void park(struct worker *w)
{
    struct pool *pool = w->pool;

    if (pool->executor->idle) {
        pool->executor->idle(w);
    }
    pthread_mutex_lock(&w->lock);
    atomic_fetch_sub(&pool->running, 1);
    worker_set_state(w, WORKER_PARKED);
    atomic_store(&w->parked, true);
    while (atomic_load(&w->parked) && !atomic_load(&pool->ending)) {
        pthread_cond_wait(&w->unpark, &w->lock);
    }
    if (atomic_load(&w->parked)) { /* the end came first: nobody has counted us back in */
        atomic_store(&w->parked, false);
        atomic_fetch_add(&pool->running, 1);
    }
    pthread_mutex_unlock(&w->lock);
    worked(w);
}

/* Something that this worker should look at before it sleeps. */
static bool is_wanted(const struct worker *w)
{
    const struct pool *pool = w->pool;

    return atomic_load(&pool->ending) ||
           (!w->page && (!queue_empty(&pool->queue) || atomic_load(&pool->park_wanted) > 0));
}

/* Sleeps until something is ready. `rested`: memory was given back already, sleep as long as it takes. */
static enum wait_outcome sleep_once(struct worker *w, bool rested, struct waitable **out)
{
    struct pool *pool = w->pool;
    enum wait_outcome outcome = WAIT_NOTHING;

    worker_set_state(w, WORKER_IDLE);
    waitset_enter(w->waitset);
    if (!is_wanted(w)) {
        outcome = waitset_wait(w->waitset, rested ? -1 : IDLE_MS, out);
    }
    uint32_t sleeping = waitset_leave(w->waitset);

    if (outcome == WAIT_READY || (!w->page && !queue_empty(&pool->queue))) {
        worker_set_state(w, WORKER_LOOKING); /* others may be quicker */
        if (!w->page) {
            sizing_wanted(pool, sleeping);
        }
    }
    return outcome;
}

/* Whoever was woken wakes the next one if there is still something to do. */
static void pass_on(const struct worker *w)
{
    if (is_wanted(w)) {
        waitset_wake(w->waitset);
    }
}

/* Busy first, then out of the queue: pool_idle must never find the request in neither place. */
static struct submission *take_submission(struct worker *w)
{
    if (w->page || queue_empty(&w->pool->queue)) {
        return NULL;
    }
    worker_set_state(w, WORKER_READING);
    return queue_pop(&w->pool->queue);
}

static void worker_loop(struct worker *w)
{
    struct pool *pool = w->pool;
    bool rested = true; /* nothing to give back before the first request */

    while (!atomic_load(&pool->ending)) {
        struct submission *s = take_submission(w);
        struct waitable *ready = NULL;

        if (s) {
            pass_on(w);
            run_submission(w, s);
            worked(w);
            rested = false;
            continue;
        }
        if (!w->page && take_park_order(pool)) {
            pass_on(w);
            park(w);
            continue;
        }
        enum wait_outcome outcome = sleep_once(w, rested, &ready);

        if (outcome == WAIT_READY) {
            ready->ready(ready, w);
            worked(w);
            rested = false;
        } else if (outcome == WAIT_TIMEOUT) {
            if (pool->executor->idle) {
                pool->executor->idle(w);
            }
            rested = true;
        }
    }
    waitset_wake(w->waitset); /* the next one that sleeps must hear of the end, too */
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *pool = w->pool;
    stack_t alternate = {.ss_sp = w->alternate_stack, .ss_size = WORKER_ALT_BYTES};

    current_worker = w;
    w->tid = (pid_t)syscall(SYS_gettid);
    atomic_store(&w->slot->tid, w->tid);
    sigaltstack(&alternate, NULL);
    if (pool->executor->thread_start(w) != 0) {
        atomic_store(&w->life, LIFE_FAILED);
        pool_wake_control(pool);
        return NULL;
    }
    worked(w);
    worker_set_state(w, WORKER_IDLE);
    atomic_store(&w->life, LIFE_SERVING);
    pool_wake_control(pool);
    worker_loop(w);
    pool->executor->thread_stop(w);
    current_worker = NULL;
    atomic_store(&w->life, LIFE_ENDED);
    pool_wake_control(pool);
    return NULL;
}
