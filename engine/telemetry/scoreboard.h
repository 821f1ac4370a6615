/* What every worker of one engine process is doing, in memory that the process shares with the supervisor, so
 * that status pages outlive a crash. The supervisor makes it at the process's launch: a file in memory, of a
 * size that nobody can change any more. The process maps it and writes; the supervisor only ever reads copies
 * (view.h), and no other process has it. Plain numbers and texts lie in it, no pointer and no size: those are
 * in the private memory of whoever writes or reads.
 *
 * It is sparse (pm.max_children = 12800 costs address space, not memory). Counters are atomics: written by
 * any thread of the process, read by anyone. A slot's texts are written by its worker under the slot's
 * sequence number (odd while changing): a reader copies and retries, and never blocks the worker. */
#ifndef ENGINE_TELEMETRY_SCOREBOARD_H
#define ENGINE_TELEMETRY_SCOREBOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/telemetry/script_table.h"

struct metrics_block;
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
                    WORKER_STATES
};
const char *worker_state_name(enum worker_state state);

/* Why a worker script that had booted came to its end on a thread. */
enum restart_reason {
    RESTART_MAX_REQUESTS, /* worker.max_requests */
    RESTART_MAX_MEMORY,   /* worker.max_memory */
    RESTART_EXIT,         /* exit in a request */
    RESTART_FATAL,        /* a fatal error, the memory limit or a deadline in a request */
    RESTART_ENDED,        /* by itself */
    RESTART_CRASH,        /* with its thread */
    RESTART_REASONS
};
const char *restart_reason_name(enum restart_reason reason);

/* What happens too rarely for a block of each thread (metrics.h). */
enum metrics_total {
    TOTAL_EARLY,      /* responses finished before their script */
    TOTAL_CRASHES,    /* of workers */
    TOTAL_TIMEOUTS,   /* requests ended at their deadline */
    TOTAL_REJECTED,   /* requests that found the queue full, or waited too long in it */
    TOTAL_SWAPS,      /* engine processes replaced; the supervisor's own */
    TOTAL_SLOW,       /* requests in the slow log */
    TOTAL_LOG_MISSED, /* lines that the supervisor's own log did not take; the first pool has all of them */
    TOTAL_BOOTS,      /* of worker scripts, to the first request that they asked for ... */
    TOTAL_BOOT_US,    /* ... and how long these took together */
    TOTAL_BOOT_FAILURES,
    TOTAL_RESTARTS, /* the first of one for each restart_reason */
    TOTAL_RESTARTS_LAST = TOTAL_RESTARTS + RESTART_REASONS - 1,
    METRICS_TOTALS
};

/* -- the shared memory -- */

/* Numbers, then slots, then the metrics' blocks: the process's own, then one for each other pool whose
 * clients it answers, in the order in which the supervisor named them; then the rows of scripts. */

/* Whole cache lines: workers write theirs at every request. */
struct scoreboard_slot {
    _Atomic uint32_t sequence; /* odd: the texts below are changing */
    _Atomic int state;         /* enum worker_state; FREE: claimed by the control thread */
    _Atomic pid_t tid;
    _Atomic uint32_t script_kib;    /* what the worker script that it holds keeps between two requests; 0 = it
                                       holds none; or one of the values below */
    _Atomic uint64_t start_wall_us; /* of the worker */
    _Atomic uint64_t requests;
    _Atomic uint64_t accepted_us; /* clock_us() at which the current or last request began */
    _Atomic uint64_t duration_us; /* of the last request, once it ended */
    _Atomic uint64_t memory_peak; /* bytes, of the last request */
    _Atomic uint64_t last_cpu_us; /* user + system of the last request */
    _Atomic uint64_t content_length;
    /* Guarded by sequence; written and read as whole 8-byte words, so each begins on one. */
    _Alignas(8) char method[16];
    char uri[128], query[512], script[256], user[40];
};
#define SCRIPT_BOOTS 1u         /* script_kib: it has not asked for a request yet */
#define SCRIPT_DOWN  UINT32_MAX /* it does not boot, and its requests are refused */
_Static_assert(sizeof(struct scoreboard_slot) % 64 == 0, "two workers would share a cache line");

struct scoreboard_numbers {
    _Atomic uint32_t slots_used, blocks_used; /* one more than the highest ever claimed: readers stop there */
    _Alignas(64) _Atomic uint64_t accepted; /* requests taken up; alone in its line, all workers add to it */
    _Alignas(64) _Atomic uint32_t active_max;
    _Atomic uint32_t max_children_reached;
    _Atomic uint64_t slow_requests;
    _Atomic uint64_t memory_peak;
    _Atomic uint32_t listen_queue, listen_queue_max, listen_queue_len; /* sampled by the control thread */
    _Atomic uint32_t script_queue; /* same: requests that wait for a worker script */
    _Atomic uint32_t opcache_used_percent;
    _Alignas(64) _Atomic uint64_t totals[METRICS_TOTALS]; /* any thread adds */
};

/* -- its size and its users -- */

struct scoreboard_size {
    uint32_t slots, blocks, guests;
};
/* Of one of its processes, which answers clients of so many other pools. */
struct scoreboard_size scoreboard_size(const struct pool_conf *pool, uint32_t guests);
/* Where things lie, in bytes from the beginning. */
size_t scoreboard_slot_at(uint32_t slot);
size_t scoreboard_block_at(struct scoreboard_size size, uint32_t block);
size_t scoreboard_guest_at(struct scoreboard_size size, uint32_t guest);
size_t scoreboard_script_at(struct scoreboard_size size, uint32_t row);

/* A new one, all zero, close-on-exec: its descriptor, or -1 with errno. The supervisor. */
int scoreboard_file(struct scoreboard_size size);

/* The engine process's handle: its own memory, made before its threads and constant from then on. */
struct scoreboard {
    int fd;
    struct scoreboard_size size;
    struct scoreboard_numbers *numbers;
    struct scoreboard_slot *slots;
    struct metrics_block *blocks;
    struct script_table scripts; /* locks itself */
};
/* Maps the file, whose descriptor is taken; NULL with errno, and then it is not. */
struct scoreboard *scoreboard_open(int fd, struct scoreboard_size size);
/* Both in one: for a pool without a supervisor. NULL with errno. */
struct scoreboard *scoreboard_create(const struct pool_conf *pool);
void scoreboard_destroy(struct scoreboard *board);

/* What a slot says of the request that its worker takes up. NULL texts are empty. Worker's thread. */
struct scoreboard_texts {
    const char *method, *uri, *query, *script, *user;
};
void scoreboard_describe(struct scoreboard_slot *slot, const struct scoreboard_texts *texts);
/* A free slot, or -1 with ENOSPC. Control thread. */
int scoreboard_claim(struct scoreboard *board);
void scoreboard_release(struct scoreboard *board, int slot);
/* How many workers are neither parked nor lost. */
uint32_t scoreboard_workers(const struct scoreboard *board);
/* How many of them have a request in hand. */
uint32_t scoreboard_busy(const struct scoreboard *board);

#endif
