/* Log-linear buckets: the position of the highest bit chooses the power, the next three bits the step. */
#include "engine/telemetry/histogram.h"

size_t histogram_bucket(uint64_t us)
{
    if (us < HISTOGRAM_STEPS) {
        return (size_t)us;
    }
    unsigned high = 63U - (unsigned)__builtin_clzll(us);
    size_t bucket =
        (size_t)(high - 2) * HISTOGRAM_STEPS + (size_t)((us >> (high - 3)) & (HISTOGRAM_STEPS - 1));
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

uint64_t histogram_upper(size_t bucket)
{
    if (bucket < HISTOGRAM_STEPS) {
        return bucket;
    }
    unsigned high = (unsigned)(bucket / HISTOGRAM_STEPS) + 2;
    uint64_t step = bucket % HISTOGRAM_STEPS;
    return ((HISTOGRAM_STEPS + step + 1) << (high - 3)) - 1;
}

/* One writer: no read-modify-write instruction, so the line stays in its core's cache unlocked. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void histogram_add(struct histogram *h, uint64_t us)
{
    add(&h->sum_us, us);
    add(&h->buckets[histogram_bucket(us)], 1);
}

void histogram_merge(struct histogram_sum *into, const struct histogram *h)
{
    into->sum_us += atomic_load_explicit(&h->sum_us, memory_order_relaxed);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        into->buckets[i] += n;
        into->count += n;
    }
}

uint64_t histogram_percentile(const struct histogram_sum *h, double percent)
{
    uint64_t wanted = (uint64_t)((double)h->count * percent / 100.0 + 0.999999);
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && h->count > 0; i++) {
        seen += h->buckets[i];
        if (seen >= wanted && seen > 0) {
            return histogram_upper(i);
        }
    }
    return 0;
}

uint64_t histogram_count_below(const struct histogram_sum *h, uint64_t us)
{
    uint64_t n = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && histogram_upper(i) <= us; i++) {
        n += h->buckets[i];
    }
    return n;
}
