/* A worker's thread from its first instruction to its last, and what the first workers wait for. What it does
 * in between is its plan's. Everything but worker_start runs on that thread. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"
#include "engine/work/worker_output.h"

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

/* Between two requests. */
void worker_reset(struct worker *w)
{
    arena_reset(w->arena);
    atomic_store_explicit(&w->idle_since_us, clock_coarse_us(), memory_order_relaxed);
}

/* The first workers wait here for each other; later ones find it open. */
static void pass_gate(struct pool *pool)
{
    if (atomic_load(&pool->open)) {
        return;
    }
    pthread_mutex_lock(&pool->gate);
    while (!atomic_load(&pool->open)) {
        pthread_cond_wait(&pool->gate_open, &pool->gate);
    }
    pthread_mutex_unlock(&pool->gate);
}

void worker_stands(struct worker *w)
{
    if (atomic_load(&w->life) != LIFE_STARTING) {
        return;
    }
    worker_reset(w);
    worker_set_state(w, WORKER_IDLE);
    atomic_store(&w->life, LIFE_SERVING);
    pool_wake_control(w->pool);
    pass_gate(w->pool);
}

static const char *request_id(void)
{
    struct request *r = current_worker ? current_worker->request : NULL;

    if (r) {
        request_identify_once(r);
    }
    return r ? r->trace.id : NULL;
}

/* tests/check-cost counts what is below this. */
static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    struct pool *pool = w->pool;
    stack_t alternate = {.ss_sp = w->alternate_stack, .ss_size = WORKER_ALT_BYTES};

    current_worker = w;
    w->tid = (pid_t)syscall(SYS_gettid);
    atomic_store(&w->slot->tid, w->tid);
    log_author = (struct log_author){.worker = (int)w->tid, .find_request = request_id};
    sigaltstack(&alternate, NULL);
    if (pool->executor->thread_start(w) != 0) {
        atomic_store(&w->life, LIFE_FAILED);
        pool_wake_control(pool);
        return NULL;
    }
    bool served = w->work(w);

    if (atomic_load(&w->lost)) {
        worker_sleep_for_ever(w);
    }
    pool->executor->thread_stop(w);
    worker_output_close();
    current_worker = NULL;
    atomic_store(&w->life, served ? LIFE_ENDED : LIFE_FAILED);
    pool_wake_control(pool);
    return NULL;
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
