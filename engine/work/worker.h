/* A worker: one thread that runs PHP, one request at a time. It waits on the pool's wait set, or parks. */
#ifndef ENGINE_WORK_WORKER_H
#define ENGINE_WORK_WORKER_H

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/work/scoreboard.h"

#define WORKER_MAGIC       0x3072ce11u
#define WORKER_STACK_BYTES (8u << 20) /* virtual; PHP derives its own stack limit from it */

/* What the crash handler noted, on the crashed thread itself. Read by the control thread once `noted` is
 * true. */
struct crash_note {
    _Atomic bool noted;
    int signal, code;
    void *address;
    void *frames[48];
    int frame_count;
    char php_backtrace[2048];
    size_t php_backtrace_n;
};

struct worker {
    unsigned magic;
    int id; /* 0..N-1 in its process, stable: tokio_worker_id() */
    struct pool *pool;
    pthread_t thread;
    pid_t tid;
    struct scoreboard_slot *slot;
    int slot_index;
    struct arena *arena; /* for the front end's requests on this worker; reset between requests */
    void *front[CONFIG_MAX_FRONTENDS]; /* front ends' per-worker objects, by index; the worker's thread */
    void *executor_data;               /* the executor's own; the worker's thread */

    /* lock guards request and the deadlines against the control thread: the control thread acts on a running
     * request only while it holds it, so that it never hits the next request. Uncontended otherwise. */
    pthread_mutex_t lock;
    struct request *request;  /* lock; NULL = between requests */
    uint64_t terminate_at_us; /* lock; 0 = none. request_terminate_timeout, moved by the heartbeat */
    uint64_t slow_at_us;      /* lock; 0 = none or already traced */
    uint64_t php_time_at_us;  /* lock; 0 = none. max_execution_time and max_input_time */
    int interrupt_stage;     /* lock; 0 none, 1 asked, 2 signalled: how far the terminate deadline has gone */
    uint64_t interrupted_us; /* lock */
    _Atomic bool lost;       /* set by the control thread or the crash handler: never used again */
    _Atomic bool parked;     /* see pool.c */
    uint64_t requests;       /* worker's thread */
    uint64_t idle_since_us;  /* pool's lock */
    struct crash_note crash;
    void *alternate_stack; /* for the crash handler */
};

/* The worker whose thread this is; NULL on other threads. Safe in a signal handler. */
extern _Thread_local struct worker *current_worker;

/* Deadlines of the running request: worker's thread. seconds <= 0 takes the deadline away. */
void worker_set_php_time(struct worker *w, int64_t seconds);
/* tokio_request_heartbeat: terminate deadline = now + seconds; false if there is none, seconds <= 0 or more
 * than the pool's request_terminate_timeout. */
bool worker_heartbeat(struct worker *w, int64_t seconds);

void worker_set_state(struct worker *w, enum worker_state state);

/* Used by pool.c. Starts the thread; 0 or an errno value. */
int worker_start(struct worker *w);

#endif
