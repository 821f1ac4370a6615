/* A log-linear histogram of microseconds: eight buckets to every power of two, so a percentile is right to 12
 * %. One writer thread each, which adds with plain relaxed stores; any thread may read and merge. */
#ifndef ENGINE_TELEMETRY_HISTOGRAM_H
#define ENGINE_TELEMETRY_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEPS   8  /* buckets per power of two */
#define HISTOGRAM_POWERS  34 /* up to 2^36 us, 19 hours; more counts in the last bucket */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * HISTOGRAM_POWERS)

struct histogram {
    _Atomic uint64_t sum_us;
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The same numbers as one reader sees them. */
struct histogram_sum {
    uint64_t count, sum_us;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

size_t histogram_bucket(uint64_t us);                 /* the bucket of a value */
uint64_t histogram_upper(size_t bucket);              /* the largest value of a bucket, in us */
void histogram_add(struct histogram *h, uint64_t us); /* the writer */
void histogram_merge(struct histogram_sum *into, const struct histogram *h);  /* any thread */
uint64_t histogram_percentile(const struct histogram_sum *h, double percent); /* us; 0 when empty */
uint64_t histogram_count_below(const struct histogram_sum *h,
                               uint64_t us); /* values in buckets that end <= us */

#endif
