/* struct pool, for the files of engine/work that are its organs; what each of them does for the others stands
 * below, file by file. Control thread unless a field says otherwise. */
#ifndef ENGINE_WORK_POOL_PRIVATE_H
#define ENGINE_WORK_POOL_PRIVATE_H

#include "engine/base/file_watch.h"
#include "engine/work/lane.h"
#include "engine/work/memory.h"
#include "engine/work/pool.h"
#include "engine/work/task.h"

/* What the workers that hold the worker script have in common: residents.c. */
#define RESIDENT_PLACES 8
struct residents {
    uint32_t count;     /* worker.num; 0 = there is no worker script */
    const char *routes; /* of paths; NULL = what leads to the script is theirs */
    const char *script; /* as the pool says it, and where it really is; NULL = unknown */
    char *real;
    char *leads_to;                /* where it is now; the control thread's. NULL = unknown */
    pthread_mutex_t lock;          /* guards the rest while there are workers */
    char *places[RESIDENT_PLACES]; /* that the script has led to; NULL = none yet */
    unsigned next_place;
    char why[256]; /* a boot failed; "" = none did */
};

struct pool {
    /* Set at creation, then read by every thread. */
    const struct pool_conf *conf;
    const struct executor *executor;
    struct scoreboard *board;
    uint32_t generation;
    struct access_log *access_log;
    struct guest *guests; /* in the order of the board's blocks */
    uint32_t guest_count;
    _Atomic int slow_log_fd;
    int control_fd; /* eventfd: the control thread is wanted */
    int event_fd;   /* epoll over control_fd and, for ondemand, the wait set */
    void *front[CONFIG_MAX_FRONTENDS];
    const struct config *config; /* NULL = nothing is known of a server around this pool */
    struct pool_server server;
    uint64_t started_wall_us;
    struct metrics_block *counters; /* of the control thread, and this process's events and gauges */

    struct lane lanes[KINDS_WITH_LANE]; /* by enum worker_kind */
    struct residents residents;

    /* Orders to workers. Any thread reads. */
    _Alignas(64) _Atomic bool draining;
    _Atomic bool ending;
    _Atomic bool leaving;         /* the supervisor is about to end the whole server */
    _Atomic bool finishing;       /* the supervisor ends the whole server */
    pthread_mutex_t gate;         /* guards open against a worker that is about to wait */
    pthread_cond_t gate_open;     /* with gate: open or ending became true */
    _Atomic bool open;            /* workers take work; written under gate, once */
    _Atomic uint32_t park_wanted; /* so many of the next idle workers park */
    _Atomic uint32_t running;     /* workers that are neither parked nor lost nor ended; page workers aside */
    _Atomic(const char *) swap_reason;
    _Atomic uint32_t renewals, resets;
    bool swap_planned;     /* control thread; see pool_plan_swap */
    _Atomic bool watching; /* ondemand: event_fd looks at the wait set */
    _Atomic bool resting;  /* the control thread sleeps until somebody connects */
    bool ondemand;

    /* The workers. */
    _Alignas(64) struct worker **workers; /* by id; NULL = none yet */
    uint32_t worker_count;                /* ids used */
    struct worker **lost;                 /* written off or crashed; kept, never used */
    uint32_t lost_count;
    uint32_t lost_pages, lost_residents, lost_classic; /* whose places others are to take at the next tick */
    uint64_t retired_requests;                         /* served by workers that are gone */
    bool lock_is_lost; /* to a crash, and a new thread needs it: no more are made */

    uint64_t unable_since_us; /* no worker can take work yet; 0 = one can */
    bool is_lost;

    /* Sizing. */
    uint32_t spawn_rate;
    bool warned_max;
    bool warned_process_max;
    uint64_t next_sizing_us;
    uint32_t serve_from; /* pool_serve_from() */
    bool started;        /* all of the start has been done */
    uint32_t process_max;
    uint32_t (*process_running)(void *ctx);
    void *process_ctx;

    struct task_notes *task_notes; /* NULL = none */
    struct cron *cron;             /* NULL = no command is ever due */

    struct file_watch *files;                  /* of worker.watch; NULL = none */
    uint64_t files_first_us, files_changed_us; /* a change is waited on; changed = 0: none is */

    uint64_t next_expire_us;
    uint64_t started_us;
    struct memory_watch memory;
    uint64_t log_dropped; /* lines of the server log that the metrics know of */
};

/* wakeup.c: what wakes the control thread */
int wakeup_open(struct pool *pool); /* once there is a wait set; 0 or -1 with errno */
void wakeup_close(struct pool *pool);
int wakeup_add(struct pool *pool, int fd); /* when it is readable; 0 or -1 with errno */
void wakeup_by_work(struct pool *pool);    /* ondemand: once, when the wait set has something */
void wakeup_quiet(struct pool *pool);
void wakeup_wait(struct pool *pool, int timeout_ms);
void pool_wake_control(struct pool *pool); /* any thread; async-signal-safe */

/* dispatch.c */
bool dispatch_has_queued(const struct pool *pool); /* something waits that no wait set shows */

/* process_max.c */
bool process_max_reached(struct pool *pool);
/* The worker that was just counted is one too many: others were quicker. */
bool process_max_exceeded(struct pool *pool);

/* worker.c, worker_thread.c, worker_loop.c: a worker, its thread, and how it finds work */
/* One of those that pm's rules are about. */
static inline bool worker_is_classic(const struct worker *w)
{
    return w->kind == KIND_CLASSIC;
}
/* What the pool says of a worker that it wants. What it brings along is the worker's from then on. */
struct worker_plan {
    enum worker_kind kind;
    /* What its thread does between its start and its end; calls worker_stands(). False: it never served. */
    bool (*work)(struct worker *worker);
    struct resident *resident; /* heap; of KIND_RESIDENT */
    struct task *task;         /* heap; of KIND_TASK */
};
/* A worker that has no thread yet: slot claimed, arena made; NULL = out of memory. */
struct worker *worker_create(struct pool *pool, int id, const struct worker_plan *plan);
int worker_start(struct worker *w); /* its thread; 0 or an errno value */
/* After its thread ended or if it never began: gives slot and memory back. */
void worker_destroy(struct worker *w);
/* Its thread is asleep for ever: gives its place in the scoreboard and its counters back. */
void worker_retire(struct worker *w);
/* The end of a lost worker's thread, which can neither be ended nor go on. Async-signal-safe. */
_Noreturn void worker_sleep_for_ever(struct worker *w);
bool worker_is_blocked(const struct worker *w); /* its thread sleeps in the kernel */
/* Its thread, once: it can serve. Returns when work may begin. */
void worker_stands(struct worker *w);
void worker_reset(struct worker *w); /* its thread, between two requests */
/* Its thread: looks for work once, and sleeps while there is none, at most timeout_ms (-1 = as long as it
 * takes). *rested: the executor has given memory back since the last request. */
void worker_look(struct worker *w, bool *rested, int timeout_ms);
/* Its thread: sleeps until something is queued, and takes nothing of that. What the wait set tells of is run.
 */
void worker_wait_queued(struct worker *w);
bool worker_loop(struct worker *w); /* the plan of those that only do that */

/* worker_signals.c: once a process, before the first worker */
void worker_install_signals(void);

/* worker_log.c */
/* One line about the running request: what happened to it, and what comes of it. */
void worker_log_request(const struct worker *w, uint64_t now_us, const char *what, const char *then);
/* A copy without control characters: the client chose these bytes. */
void worker_log_text(char *out, size_t size, const char *text);

/* workers.c: the table */
/* A new thread in a free place; 0, or -1 (reported): what the plan brings is still the caller's. */
int workers_add(struct pool *pool, const struct worker_plan *plan);
void workers_remove(struct pool *pool, struct worker *w); /* its thread is not ours any more */
void workers_reap(struct pool *pool, struct worker *w);   /* its thread has ended, or ends now */

/* lost.c: the one end of workers that crashed or are stuck */
/* Answers its client, and takes it out of the table if it is there. insist: its request is not to be had, and
 * the client is let go without; else that is tried again at the next ticks. */
void lost_add(struct pool *pool, struct worker *w, bool insist, uint64_t now_us);
void lost_tick(struct pool *pool, uint64_t now_us);

/* residents.c: the workers that hold the worker script, together */
int residents_open(struct pool *pool); /* before any worker, when the lanes are made; 0 or -1 with errno */
void residents_close(struct pool *pool);
void residents_sample(struct pool *pool);                        /* each tick: how many requests wait */
bool residents_rest(const struct pool *pool);                    /* all are there and wait */
bool residents_want(struct pool *pool, const struct request *r); /* any thread */
void residents_note_failure(struct pool *pool, const char *why); /* worker's thread: a boot failed */
void residents_follow(
    struct pool *pool); /* once a second: a link on the way to the script may have been moved */
bool resident_begin(struct worker *w, struct request *r); /* worker's thread: false = it has been refused */

/* resident.c: one of them */
void residents_add(struct pool *pool, uint32_t count);   /* so many threads */
void residents_tick(struct pool *pool, uint64_t now_us); /* once a second: lost ones come back */

/* sizing.c */
uint32_t sizing_first(const struct pool *pool);       /* so many workers at the start */
void sizing_begin(struct pool *pool);                 /* makes those that pool_start() waits for */
void sizing_complete(struct pool *pool);              /* and the others of the first */
void sizing_grow(struct pool *pool, uint32_t count);  /* unparks, else makes; within process.max */
void sizing_tick(struct pool *pool, uint64_t now_us); /* once a second: php-fpm's maintenance */
void sizing_demand(struct pool *pool);                /* every tick: ondemand */
bool sizing_is_settled(const struct pool *pool,
                       bool goes); /* all idle, and sizing_tick would change nothing */
enum ability {
    UNABLE,    /* no worker can take work, and somebody wants one */
    ABLE_SOON, /* one is starting, and has not needed suspiciously long */
    ABLE,      /* one serves, or nobody wants one */
};
enum ability sizing_ability(const struct pool *pool, uint64_t now_us);

/* deadline.c */
void deadline_arm(struct worker *w, uint64_t now_us); /* worker's thread, w->lock held */
void deadline_check(struct pool *pool, struct worker *w, uint64_t now_us);
/* The drain's end: as if the terminate deadline had passed now. */
void deadline_force(struct pool *pool, struct worker *w, uint64_t now_us);

/* slow_log.c */
void slow_log_check(struct worker *w, uint64_t now_us); /* w->lock held */
void slow_log_finish(struct worker *w);                 /* each tick: says when a trace is complete */
void slow_log_answer(struct worker *w);                 /* handler of WORKER_SIGNAL_TRACE, control thread */

/* stuck.c */
void stuck_tick(struct pool *pool, uint64_t now_us); /* once a second: who waits for what a crash has taken */
void stuck_answer(struct worker *w, const void *context); /* handler of WORKER_SIGNAL_TRACE */

/* crash.c: also crash_install() for process.c */
void crash_collect(struct pool *pool, struct worker *w, uint64_t now_us);

/* memory.c */
void memory_start(struct pool *pool);
void pool_plan_swap(struct pool *pool, const char *why);     /* control thread; as pool_swap_is_planned */
void memory_tick(struct pool *pool, uint64_t now_us);        /* each tick: pm.max_memory */
bool memory_holds(const struct pool *pool, uint64_t now_us); /* the process is full: no request begins */
void memory_note(struct pool *pool, uint64_t now_us);        /* worker's thread, after a request */
void memory_wait(const struct pool *pool); /* worker's thread, before one: while the process is full */
void memory_check_group(struct pool *pool, uint64_t now_us); /* once a second: the cgroup's limit */

/* upkeep.c */
void upkeep_sample(struct pool *pool);                /* how many wait in listeners, for the scoreboard */
void upkeep_tick(struct pool *pool, uint64_t now_us); /* once a second */

/* script_files.c: worker.watch */
void script_files_open(struct pool *pool);
void script_files_tick(struct pool *pool, uint64_t now_us); /* each tick */

#endif
