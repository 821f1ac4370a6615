/* What every worker of a pool is doing, in memory shared by the supervisor and all engine processes of the
 * pool, so that status pages outlive a crash and span generations. The supervisor creates it before the first
 * fork; it is sparse (pm.max_children = 12800 costs address space, not memory). Counters are atomics: written
 * by anyone, read by anyone. A slot's texts are written by its worker under the slot's sequence number (odd
 * while changing): a reader copies and retries, and never blocks the worker. */
#ifndef ENGINE_TELEMETRY_SCOREBOARD_H
#define ENGINE_TELEMETRY_SCOREBOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct metrics;
struct pool_conf;

enum worker_state {                  /* php-fpm's "state" column, in order */
                    WORKER_FREE = 0, /* slot not used */
                    WORKER_CREATING,
                    WORKER_IDLE,
                    WORKER_READING, /* "Reading headers" */
                    WORKER_INFO,    /* "Getting request information" */
                    WORKER_RUNNING,
                    WORKER_ENDING,
                    WORKER_FINISHING,
                    WORKER_PARKED,  /* ours: surplus, sleeping; php-fpm's monitors do not see it */
                    WORKER_LOST,    /* ours: crashed or stuck; waits for the end of its process */
                    WORKER_LOOKING, /* ours: woken, has nothing in hand yet; to others "Idle" */
};
const char *worker_state_name(enum worker_state state);

/* Whole cache lines: workers write theirs at every request. */
struct scoreboard_slot {
    _Atomic uint32_t sequence; /* odd: the texts below are changing */
    _Atomic int state;         /* enum worker_state */
    _Atomic pid_t process;     /* of the engine process, 0 = free; claimed with compare-and-swap */
    _Atomic pid_t tid;
    _Atomic uint32_t generation;
    _Atomic uint64_t start_wall_us; /* of the worker */
    _Atomic uint64_t requests;
    _Atomic uint64_t accepted_us; /* clock_us() at which the current or last request began */
    _Atomic uint64_t duration_us; /* of the last request, once it ended */
    _Atomic uint64_t memory_peak; /* bytes, of the last request */
    _Atomic uint64_t last_cpu_us; /* user + system of the last request */
    _Atomic uint64_t content_length;
    /* Guarded by sequence; written and read as whole 8-byte words, so each begins on one. */
    _Alignas(8) char method[16];
    char uri[128], query[512], script[256], user[32];
};

struct scoreboard {
    char pool[32];
    int pm; /* enum pm_kind */
    uint64_t start_wall_us;
    uint32_t slot_count; /* max_children x 2 (two generations overlap), + page workers */
    uint32_t max_children;
    _Atomic uint32_t slots_used; /* one more than the highest slot ever claimed: readers stop there */
    _Alignas(64) _Atomic uint64_t accepted; /* requests taken up; alone in its line, all workers add to it */
    _Alignas(64) _Atomic uint32_t active_max;
    _Atomic uint32_t max_children_reached;
    _Atomic uint64_t slow_requests;
    _Atomic uint64_t memory_peak;
    _Atomic uint32_t listen_queue, listen_queue_max, listen_queue_len; /* sampled by the control thread */
    _Atomic uint32_t idle, active; /* recounted by the control thread each second */
    _Atomic uint32_t opcache_used_percent;
    _Atomic bool others_serve; /* processes that outlived a reload, whose workers are not in here */
    _Atomic bool finishing;    /* the supervisor ends the server: nothing replaces what drains now */
    struct metrics *metrics;   /* set once, before the first fork: at the same address in every process */
    _Alignas(64) struct scoreboard_slot slots[]; /* the board's, not the type's: copies lie on stacks */
};
_Static_assert(sizeof(struct scoreboard_slot) % 64 == 0, "two workers would share a cache line");

/* metrics: -1, or the descriptor of an earlier board's, which is taken and counts on. The numbers of the
 * board itself begin anew, as php-fpm's do at a reload. NULL with errno: see metrics_inherit(). */
struct scoreboard *scoreboard_create(const struct pool_conf *pool, int metrics);
void scoreboard_destroy(struct scoreboard *board);
/* What a slot says of the request that its worker takes up. NULL texts are empty. Worker's thread. */
struct scoreboard_texts {
    const char *method, *uri, *query, *script, *user;
};
void scoreboard_describe(struct scoreboard_slot *slot, const struct scoreboard_texts *texts);
/* A free slot for this process, or -1. */
int scoreboard_claim(struct scoreboard *board, pid_t process, uint32_t generation);
void scoreboard_release(struct scoreboard *board, int slot);
/* Supervisor: the process is dead; free all its slots. */
void scoreboard_reap(struct scoreboard *board, pid_t process);
/* A consistent copy of a slot's texts and numbers; false if the slot is free. */
bool scoreboard_read(const struct scoreboard *board, uint32_t slot, struct scoreboard_slot *out);
/* A worker's state as everybody else sees it: one that only looks for work is idle. */
enum worker_state scoreboard_state(const struct scoreboard *board, uint32_t slot);
/* Workers that are neither parked nor lost; of one process, or of all (0). */
uint32_t scoreboard_workers(const struct scoreboard *board, pid_t process);
/* How many workers have a request in hand. */
uint32_t scoreboard_busy(const struct scoreboard *board);
/* Active, idle and total workers as php-fpm counts processes (parked and lost ones do not count). */
void scoreboard_count(const struct scoreboard *board, uint32_t *idle, uint32_t *active, uint32_t *total);

#endif
