/* What a pool has served, in memory shared by the supervisor and all engine processes of the pool: one block
 * of counters per serving thread, written by that thread alone and merged by whoever reads. Blocks are never
 * cleared, so the sums only grow, across crashes and generations. */
#ifndef ENGINE_WORK_METRICS_H
#define ENGINE_WORK_METRICS_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/work/histogram.h"
#include "engine/work/scoreboard.h"

/* Blocks beyond the workers', for one engine process: loops, page workers, its control thread. */
#define METRICS_CLAIMS     80
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

/* The first blocks belong to the scoreboard's slots, the others are claimed. */
struct metrics {
    uint32_t slot_blocks, claim_blocks;
    _Atomic uint32_t slots_used, claims_used; /* one more than the highest ever used: readers stop there */
    struct metrics_block blocks[];
};

/* NULL with errno; pages are touched when written. */
struct metrics *metrics_create(uint32_t slot_blocks, uint32_t claim_blocks);
void metrics_destroy(struct metrics *metrics);
/* The block of a scoreboard's slot: whoever has the slot. */
struct metrics_block *metrics_slot(struct metrics *metrics, uint32_t slot);
/* A free block for a thread of this process, or one whose process is dead; NULL: all are taken. */
struct metrics_block *metrics_claim(struct metrics *metrics, pid_t process);
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

/* A merged view, for pages. */
struct metrics_sum {
    int64_t connections, pending;
    uint64_t events[POOL_EVENTS];
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
