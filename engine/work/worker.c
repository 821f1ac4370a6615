/* A worker as the pool sees it: made, started, asked for its state, taken apart. What runs on its thread is
 * in worker_thread.c and request_run.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"
#include "engine/work/profile.h"

#define ARENA_LIMIT (16u << 20)

_Thread_local struct worker *current_worker;
_Thread_local struct cgi_rules cgi_rules;

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

/* -- making and starting -- */

static void take_lane(struct worker *w, enum worker_kind kind)
{
    struct pool *pool = w->pool;

    if (kind < KINDS_WITH_LANE) {
        w->lane = &pool->lanes[kind];
    }
    if (kind == KIND_RESIDENT) {
        w->resident = resident_create();
    } else if (kind == KIND_TASK) {
        w->task = pool->next_task;
        pool->next_task = NULL;
    }
}

struct worker *worker_create(struct pool *pool, int id, enum worker_kind kind)
{
    struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) / 64 * 64);

    if (!w) {
        return NULL;
    }
    memset(w, 0, sizeof(*w));
    w->magic = WORKER_MAGIC;
    w->id = id;
    w->pool = pool;
    w->kind = kind;
    take_lane(w, kind);
    w->abandon_status = 500;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->unpark, NULL);
    w->arena = arena_create(ARENA_LIMIT);
    w->alternate_stack = mmap(NULL, WORKER_ALT_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w->sample.fd = -1;
    w->slot_index = kind == KIND_PAGE ? -1 : scoreboard_claim(pool->board);
    if (!w->arena || w->alternate_stack == MAP_FAILED || (kind == KIND_RESIDENT && !w->resident)) {
        worker_destroy(w);
        return NULL;
    }
    w->slot = w->slot_index < 0 ? &w->own_slot : &pool->board->slots[w->slot_index];
    w->counters = pool_counters(pool);
    return w;
}

void worker_destroy(struct worker *w)
{
    metrics_release(w->counters);
    if (w->sample.fd >= 0) {
        close(w->sample.fd);
    }
    if (w->slot_index >= 0) {
        scoreboard_release(w->pool->board, w->slot_index);
    }
    if (w->alternate_stack != MAP_FAILED) {
        munmap(w->alternate_stack, WORKER_ALT_BYTES);
    }
    if (w->arena) {
        arena_destroy(w->arena);
    }
    free(w->resident);
    task_free(w);
    pthread_cond_destroy(&w->unpark);
    pthread_mutex_destroy(&w->lock);
    w->magic = 0;
    free(w);
}

void worker_retire(struct worker *w)
{
    metrics_release(w->counters);
    w->counters = NULL;
    if (w->slot_index >= 0) {
        atomic_store(&w->own_slot.state, WORKER_LOST);
        w->slot = &w->own_slot;
        scoreboard_release(w->pool->board, w->slot_index);
        w->slot_index = -1;
    }
}

static void on_interrupt(int signal)
{
    (void)signal; /* its delivery is its meaning: the system call returns EINTR */
}

static void on_trace(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    if (current_worker) {
        stuck_answer(current_worker, context);
        deadline_answer_trace(current_worker);
        profile_answer(current_worker);
    }
}

void worker_install_signals(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigemptyset(&action.sa_mask);
    sigaction(WORKER_SIGNAL_INTERRUPT, &action, NULL);
    action.sa_sigaction = on_trace;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
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

/* A thread that could be made, but then found no room for its heap (an arena of its own), would be PHP's end:
 * it ends a process that has no memory for a thread's data. 0 or an errno. */
static int find_room(void)
{
    void *room = mmap(NULL, WORKER_ROOM_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (room == MAP_FAILED) {
        return errno;
    }
    munmap(room, WORKER_ROOM_BYTES);
    return 0;
}

int worker_start(struct worker *w)
{
    pthread_attr_t attributes;
    sigset_t blocked, before;
    int error = find_room();

    if (!error) {
        error = pthread_attr_init(&attributes);
    }
    if (error) {
        return error;
    }
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    pthread_attr_setguardsize(&attributes, WORKER_GUARD_BYTES);
    worker_signal_set(&blocked);
    w->started_us = clock_us();
    /* The thread is born with its mask: no signal can reach it before. */
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    error = pthread_create(&w->thread, &attributes, worker_thread, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* -- states and deadlines that others ask for -- */

void worker_holds(struct waitable *w)
{
    if (current_worker) {
        atomic_store_explicit(&current_worker->held, w, memory_order_release);
    }
}

void worker_set_state(struct worker *w, enum worker_state state)
{
    int was = atomic_load_explicit(&w->slot->state, memory_order_relaxed);

    while (was != WORKER_LOST &&
           !atomic_compare_exchange_weak_explicit(&w->slot->state, &was, state, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

enum worker_state worker_get_state(const struct worker *w)
{
    return (enum worker_state)atomic_load_explicit(&w->slot->state, memory_order_acquire);
}

void pool_count_reading(struct worker *worker)
{
    atomic_store_explicit(&worker->slot->accepted_us, clock_us(), memory_order_relaxed);
    worker_set_state(worker, WORKER_READING);
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
