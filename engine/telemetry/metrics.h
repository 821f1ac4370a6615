/* What an engine process has served: one block of counters per serving thread on the process's board
 * (scoreboard.h), written by that thread alone, and the sum of blocks as a reader has it. Blocks are never
 * cleared while the process lives; when it is gone the supervisor keeps its sums (view.h), so the counters of
 * a pool only grow, across crashes and generations, and across re-executions of the supervisor. */
#ifndef ENGINE_TELEMETRY_METRICS_H
#define ENGINE_TELEMETRY_METRICS_H

#include "engine/engine.h"
#include "engine/telemetry/histogram.h"
#include "engine/telemetry/scoreboard.h"

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
    HISTOGRAM_DURATION,  /* from the request's arrival to the end of its response; those after it: here */
    HISTOGRAM_QUEUE,     /* waiting for a worker */
    HISTOGRAM_PHP_START, /* PHP's request start-up */
    HISTOGRAM_SCRIPT,
    HISTOGRAM_PHP_SHUTDOWN,
    HISTOGRAM_COUNT
};

/* Shared memory. One writer thread; padded, so that two writers never share a cache line. Gauges and events
 * are those of the process, in the block that its control thread claimed: any of its threads adds to them. */
struct metrics_block {
    _Alignas(64) _Atomic int claimed; /* by compare-and-swap; 0 = free */
    _Atomic int64_t connections;      /* open client connections */
    _Atomic int64_t pending;          /* requests in the queue */
    _Atomic uint64_t events[POOL_EVENTS];
    _Alignas(64) _Atomic uint64_t requests;
    _Atomic uint64_t bytes_in, bytes_out;
    _Atomic uint64_t methods[METHOD_COUNT];
    _Atomic uint64_t statuses[METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
    struct histogram histograms[HISTOGRAM_COUNT];
};

/* A free block for a thread of this process; NULL: all are taken. Any thread. */
struct metrics_block *metrics_claim(struct scoreboard *board);
/* The thread is over: its block is free, its counts stay. NULL is fine. */
void metrics_release(struct metrics_block *block);

/* What one answered request adds. Times in us; UINT64_MAX = did not happen. */
struct metrics_facts {
    enum metrics_method method;
    int status;
    uint64_t bytes_in, bytes_out;
    uint64_t times[HISTOGRAM_COUNT];
};
enum metrics_method metrics_method(const char *method, size_t n);
void metrics_add(struct metrics_block *block, const struct metrics_facts *facts); /* the block's thread */
/* The same of a request that is over at `ended_us`; block may be NULL. Of one that is counted elsewhere: how
 * long its parts took here, and no more. */
void metrics_add_request(struct metrics_block *block, const struct request *r, uint64_t ended_us);
void metrics_count(struct scoreboard *board, enum metrics_total which, uint64_t n); /* any thread */
uint64_t metrics_counted(const struct scoreboard *board, enum metrics_total which);

/* Sums as one reader sees them. */
struct metrics_sum {
    int64_t connections, pending;
    uint64_t events[POOL_EVENTS], totals[METRICS_TOTALS];
    uint64_t requests, bytes_in, bytes_out;
    uint64_t methods[METHOD_COUNT];
    uint64_t statuses[METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
    struct histogram_sum histograms[HISTOGRAM_COUNT];
};
/* Adds a block. It may be anybody's: no number of it is trusted, and gauges are held within +-2^31. */
void metrics_merge(struct metrics_sum *into, const struct metrics_block *block);

#endif
