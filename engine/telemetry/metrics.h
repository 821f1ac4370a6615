/* What a pool has served, in memory shared by the supervisor and all engine processes of the pool: one block
 * of counters per serving thread, written by that thread alone and merged by whoever reads. Blocks are never
 * cleared, so the sums only grow, across crashes and generations, and across re-executions of the supervisor,
 * which hands the memory to its next image while the processes of the last one still count in it. */
#ifndef ENGINE_TELEMETRY_METRICS_H
#define ENGINE_TELEMETRY_METRICS_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/telemetry/histogram.h"
#include "engine/telemetry/scoreboard.h"

/* Blocks beyond the workers', for one engine process: loops, page workers, its control thread. */
#define METRICS_CLAIMS     80
#define METRICS_LAYOUT_MAX 64
#define METRICS_STATUS_MIN 100
#define METRICS_STATUS_MAX 599

enum metrics_method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_PATCH,
    METHOD_DELETE,
    METHOD_OPTIONS,
    METHOD_QUERY,
    METHOD_OTHER,
    METHOD_COUNT
};

enum metrics_histogram {
    HISTOGRAM_DURATION,  /* from the request's arrival to the end of its response */
    HISTOGRAM_QUEUE,     /* waiting for a worker */
    HISTOGRAM_PHP_START, /* PHP's request start-up */
    HISTOGRAM_SCRIPT,
    HISTOGRAM_PHP_SHUTDOWN,
    HISTOGRAM_COUNT
};

/* One writer thread; any reader. Padded, so that two writers never share a cache line. Gauges and events are
 * those of a process, in the block that its control thread claimed: any of its threads adds to them, and the
 * gauges end with the process. */
struct metrics_block {
    _Alignas(64) _Atomic pid_t owner; /* of a claimed block, by compare-and-swap; 0 = free */
    _Atomic int64_t connections;      /* open client connections */
    _Atomic int64_t pending;          /* requests in the queue */
    _Atomic uint64_t events[POOL_EVENTS];
    _Alignas(64) _Atomic uint64_t requests;
    _Atomic uint64_t bytes_in, bytes_out;
    _Atomic uint64_t methods[METHOD_COUNT];
    _Atomic uint64_t statuses[METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
    struct histogram histograms[HISTOGRAM_COUNT];
};

/* What happens too rarely for a block of each thread. */
enum metrics_total {
    TOTAL_EARLY,      /* responses finished before their script */
    TOTAL_CRASHES,    /* of workers */
    TOTAL_TIMEOUTS,   /* requests ended at their deadline */
    TOTAL_REJECTED,   /* requests that found the queue full, or waited too long in it */
    TOTAL_SWAPS,      /* engine processes replaced */
    TOTAL_SLOW,       /* requests in the slow log */
    TOTAL_LOG_MISSED, /* lines that the supervisor's own log did not take; the first pool has all of them */
    METRICS_TOTALS
};

/* The shared memory. Written once: layout and start. */
struct metrics_shared {
    char layout[METRICS_LAYOUT_MAX]; /* what this build means by the bytes below */
    uint64_t start_wall_us;
    _Atomic uint32_t used; /* one more than the highest block ever claimed: readers stop there */
    _Alignas(64) _Atomic uint64_t totals[METRICS_TOTALS]; /* any thread adds */
    struct metrics_block blocks[];
};

/* A process's view of it. Made before other threads and processes; theirs is a copy. */
struct metrics {
    struct metrics_shared *shared;
    uint32_t count; /* blocks that this view reaches; an earlier image may reach fewer */
    int fd;         /* -1: the memory cannot be handed on */
};

/* So many blocks, all zero. NULL with errno; pages are touched when written. */
struct metrics *metrics_create(uint32_t count);
/* The memory behind an earlier view's descriptor, with so many blocks beside those that are taken. The
 * descriptor is taken, too. NULL with errno: EPROTO = another build's layout. */
struct metrics *metrics_inherit(int fd, uint32_t count);
void metrics_destroy(struct metrics *metrics);
/* A free block for a thread of this process, or one whose process is dead; NULL: all are taken. */
struct metrics_block *metrics_claim(struct metrics *metrics, pid_t process);
/* The thread is over: its block is free, its counts stay. NULL is fine. */
void metrics_release(struct metrics_block *block);
/* The process is dead: its blocks are free, its gauges zero, its counts stay. */
void metrics_reap(struct metrics *metrics, pid_t process);

/* What one answered request adds. Times in us; UINT64_MAX = did not happen. */
struct metrics_facts {
    enum metrics_method method;
    int status;
    uint64_t bytes_in, bytes_out;
    uint64_t times[HISTOGRAM_COUNT];
};
enum metrics_method metrics_method(const char *method, size_t n);
void metrics_add(struct metrics_block *block, const struct metrics_facts *facts); /* the block's thread */
/* The same of a request that is over at `ended_us`; block may be NULL. */
void metrics_add_request(struct metrics_block *block, const struct request *r, uint64_t ended_us);
void metrics_count(struct metrics *metrics, enum metrics_total which, uint64_t n); /* any thread */
uint64_t metrics_counted(const struct metrics *metrics, enum metrics_total which);

/* A merged view, for pages. */
struct metrics_sum {
    int64_t connections, pending;
    uint64_t events[POOL_EVENTS], totals[METRICS_TOTALS];
    uint64_t requests, bytes_in, bytes_out;
    uint64_t methods[METHOD_COUNT];
    uint64_t statuses[METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
    struct histogram_sum histograms[HISTOGRAM_COUNT];
};
/* The same of two numbers that are asked for often. */
struct metrics_totals {
    uint64_t requests;
    int64_t connections;
};
void metrics_total(const struct metrics *metrics, struct metrics_totals *out);
void metrics_merge(struct metrics_sum *into, const struct metrics *metrics); /* into is added to */

/* The /metrics page over pools: Prometheus text 0.0.4, or OpenMetrics 1.0. start_wall_us: of the server. */
void metrics_render(struct scoreboard *const *boards, size_t count, uint64_t start_wall_us, bool openmetrics,
                    struct buf *out);

#endif
