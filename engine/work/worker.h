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
#include "engine/telemetry/scoreboard.h"
#include "engine/work/stuck.h"

#define WORKER_MAGIC 0x3072ce11u
/* Virtual. Frames of a PHP with threads are larger, and it is to go
 * as deep as one without threads goes in the usual 8 MiB. */
#define WORKER_STACK_BYTES (16u << 20)
/* Address space that must be free for another worker: its stack, an arena of malloc's (64 MB, asked for with
 * as much again to align it), and what others take meanwhile. */
#define WORKER_ROOM_BYTES  (256u << 20)
#define WORKER_GUARD_BYTES (64u << 10)
#define WORKER_ALT_BYTES   (64u << 10)

/* Breaks blocking system calls (handler without SA_RESTART). Not SIGRTMIN: PHP's own timers use it. */
#define WORKER_SIGNAL_INTERRUPT (SIGRTMIN + 2)
/* Asks for a backtrace for the slow log, and for what the thread waits for (stuck.h). */
#define WORKER_SIGNAL_TRACE (SIGRTMIN + 3)

/* Only the first kind counts for pm's rules. */
enum worker_kind {
    KIND_CLASSIC,
    KIND_PAGE,     /* serves reserved waitables and nothing else */
    KIND_RESIDENT, /* holds the pool's worker script (resident.h) */
    KINDS_WITH_LANE,
    KIND_TASK = KINDS_WITH_LANE, /* runs a task.script (task.h) */
};

/* Where a worker is with starting and ending. */
enum worker_life {
    LIFE_STARTING,
    LIFE_SERVING,
    LIFE_FAILED, /* the executor refused the thread; it has ended */
    LIFE_ENDED,  /* to be joined */
};

/* What the crash handler noted, on the crashed thread itself. Read by the control thread once `noted` is
 * true. */
struct crash_note {
    _Atomic uint64_t
        entered_us; /* the handler began; should it hang, the control thread goes on without it */
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
    enum worker_kind kind;
    struct lane *lane;              /* the pool's of that kind; NULL = it looks for no work */
    struct resident *resident;      /* of KIND_RESIDENT, else NULL */
    struct task *task;              /* of KIND_TASK, else NULL */
    bool (*work)(struct worker *w); /* struct worker_plan's */
    pthread_t thread;
    _Atomic pid_t tid; /* its own word; 0 until its thread has begun */
    struct scoreboard_slot *slot;
    int slot_index;
    struct metrics_block *counters; /* the worker's thread adds to them; NULL = nothing is counted */
    struct arena *arena;            /* for the front end's requests on this worker; reset between requests */
    void *front[CONFIG_MAX_FRONTENDS]; /* front ends' per-worker objects, by index; the worker's thread */
    void *executor_data;               /* the executor's own; the worker's thread */

    /* lock guards request and the deadlines against the control thread: the control thread acts on a running
     * request only while it holds it, so that it never hits the next request. Uncontended otherwise. */
    pthread_mutex_t lock;
    struct request *request;          /* lock; NULL = between requests */
    _Atomic(struct waitable *) held;  /* the worker's thread: what it has in hand; NULL = nothing */
    _Atomic(struct request *) queued; /* the worker's thread: out of the queue, and not begun; NULL = none */
    uint64_t terminate_at_us;         /* lock; 0 = none. request_terminate_timeout, moved by the heartbeat */
    uint64_t slow_at_us;              /* lock; 0 = none or already traced */
    uint64_t php_time_at_us;          /* lock; 0 = none. max_execution_time and max_input_time */
    bool php_time_is_over;            /* lock. The executor gives the script up: hard_timeout */
    int interrupt_stage;     /* lock; 0 none, 1 asked, 2 signalled: how far the terminate deadline has gone */
    uint64_t interrupted_us; /* lock */
    _Atomic bool lost;       /* set by the control thread or the crash handler: never used again */
    _Atomic bool asleep;     /* lost, and its thread will never run again: worker_sleep_for_ever */
    _Atomic bool parked;     /* written under lock: surplus, waits for unpark */
    _Atomic bool waits;      /* written by the worker's thread: it sleeps in the wait set */
    uint64_t requests;       /* worker's thread */
    struct waitable *again;  /* worker's thread: a listener where another connection may wait; NULL = none */
    unsigned unslept;        /* worker's thread: how often it was looked at since the wait set was */
    unsigned vain; /* worker's thread: nobody was there; so many connections later it is tried again */
    _Atomic uint64_t idle_since_us; /* written by the worker's thread when it goes to sleep */
    struct crash_note crash;
    struct stuck_wait wait;
    void *alternate_stack; /* for the crash handler */

    struct scoreboard_slot own_slot; /* of one that has none in the scoreboard: a page worker, a lost one, or
                                        one more than the scoreboard holds */
    _Atomic int life;                /* enum worker_life; written by the worker's thread */
    pthread_cond_t unpark;           /* with lock: parked became false */
    uint64_t cpu_seen_us;            /* worker's thread: CPU time at the last reading of it */
    uint64_t cpu_guessed_us; /* worker's thread: time of requests since then that were too short to measure */
    unsigned cpu_unread;     /* worker's thread: how many */

    /* Written by the control thread before WORKER_SIGNAL_TRACE, read by its handler. */
    _Atomic bool trace_wanted; /* taken back (under lock) when the request ends first */
    char trace_head[512];
    size_t trace_head_n;

    /* Control thread only. */
    uint64_t started_us;   /* when the thread was made */
    bool trace_told;       /* "about to trace" was logged, "finished" not yet */
    bool crash_told;       /* the crash was reported */
    bool buried;           /* a lost worker's client was answered */
    int abandon_status;    /* what its client is told: 500, 504, 503 */
    uint64_t abandoned_us; /* since when we try to */
};

/* The worker whose thread this is; NULL on other threads. Safe in a signal handler. */
extern _Thread_local struct worker *current_worker;

/* Deadlines of the running request: worker's thread. seconds <= 0 takes the deadline away. */
void worker_set_php_time(struct worker *w, int64_t seconds);
/* tokio_request_heartbeat: terminate deadline = now + seconds; false if there is none, seconds <= 0 or more
 * than the pool's request_terminate_timeout. */
bool worker_heartbeat(struct worker *w, int64_t seconds);

enum worker_state worker_get_state(const struct worker *w);
/* A worker that is lost stays it, whatever its thread still says. */
void worker_set_state(struct worker *w, enum worker_state state);

#endif
