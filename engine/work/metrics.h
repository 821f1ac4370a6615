/* What a pool has served, in memory shared by the supervisor and all engine processes of the pool: one block
 * of counters per serving thread, written by that thread alone and merged by whoever reads. Blocks are never
 * cleared, so the sums only grow, across crashes and generations. */
#ifndef ENGINE_WORK_METRICS_H
#define ENGINE_WORK_METRICS_H

#include "engine/base/buf.h"
#include "engine/work/histogram.h"
#include "engine/work/scoreboard.h"

#define METRICS_LOOPS      64 /* blocks beyond the workers', for threads that answer without PHP */
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

/* One writer thread; any reader. Padded, so that two writers never share a cache line. */
struct metrics_block {
    _Alignas(64) _Atomic uint64_t requests;
    _Atomic uint64_t bytes_in, bytes_out;
    _Atomic uint64_t methods[METHOD_COUNT];
    _Atomic uint64_t statuses[METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
    struct histogram histograms[HISTOGRAM_COUNT];
};

struct metrics {
    uint32_t block_count;
    /* Written by control and loop threads, rarely: atomics, any thread. */
    _Atomic int64_t connections; /* open client connections */
    _Atomic int64_t pending;     /* requests in the queue */
    _Atomic uint64_t rate_limited, tls_handshakes, h2_streams, h2_refused_connections, log_lines_dropped;
    struct metrics_block blocks[];
};

struct metrics *metrics_create(uint32_t block_count); /* NULL with errno; pages are touched when written */
void metrics_destroy(struct metrics *metrics);

/* What one answered request adds. Times in us; UINT64_MAX = did not happen. */
struct metrics_facts {
    enum metrics_method method;
    int status;
    uint64_t bytes_in, bytes_out;
    uint64_t times[HISTOGRAM_COUNT];
};
enum metrics_method metrics_method(const char *method, size_t n);
void metrics_add(struct metrics_block *block, const struct metrics_facts *facts); /* the block's thread */

/* A merged view, for pages. */
struct metrics_sum {
    uint64_t requests, bytes_in, bytes_out;
    uint64_t methods[METHOD_COUNT];
    uint64_t statuses[METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
    struct histogram_sum histograms[HISTOGRAM_COUNT];
};
void metrics_merge(struct metrics_sum *into, const struct metrics *metrics); /* into is added to */

/* The /metrics page over pools: Prometheus text 0.0.4, or OpenMetrics 1.0. start_wall_us: of the server. */
void metrics_render(struct scoreboard *const *boards, size_t count, uint64_t start_wall_us, bool openmetrics,
                    struct buf *out);

#endif
