/* Counters in shared memory: adding and merging. The page that shows them is metrics_page.c. */
#include "engine/work/metrics.h"

#include <string.h>
#include <sys/mman.h>

static size_t metrics_size(uint32_t block_count)
{
    return sizeof(struct metrics) + block_count * sizeof(struct metrics_block);
}

struct metrics *metrics_create(uint32_t block_count)
{
    struct metrics *m = mmap(NULL, metrics_size(block_count), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) {
        return NULL;
    }
    m->block_count = block_count;
    return m;
}

void metrics_destroy(struct metrics *m)
{
    if (m) {
        munmap(m, metrics_size(m->block_count));
    }
}

enum metrics_method metrics_method(const char *method, size_t n)
{
    static const char *const names[METHOD_OTHER] = {"GET",   "HEAD",   "POST",    "PUT",
                                                    "PATCH", "DELETE", "OPTIONS", "QUERY"};
    for (int i = 0; i < METHOD_OTHER; i++) {
        if (strlen(names[i]) == n && memcmp(names[i], method, n) == 0) {
            return (enum metrics_method)i;
        }
    }
    return METHOD_OTHER;
}

/* One writer a block: plain loads and stores, no locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void metrics_add(struct metrics_block *block, const struct metrics_facts *facts)
{
    add(&block->requests, 1);
    add(&block->bytes_in, facts->bytes_in);
    add(&block->bytes_out, facts->bytes_out);
    add(&block->methods[facts->method], 1);
    if (facts->status >= METRICS_STATUS_MIN && facts->status <= METRICS_STATUS_MAX) {
        add(&block->statuses[facts->status - METRICS_STATUS_MIN], 1);
    }
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        if (facts->times[i] != UINT64_MAX) {
            histogram_add(&block->histograms[i], facts->times[i]);
        }
    }
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void merge_block(struct metrics_sum *into, const struct metrics_block *block)
{
    into->requests += get(&block->requests);
    into->bytes_in += get(&block->bytes_in);
    into->bytes_out += get(&block->bytes_out);
    for (int i = 0; i < METHOD_COUNT; i++) {
        into->methods[i] += get(&block->methods[i]);
    }
    for (int i = 0; i <= METRICS_STATUS_MAX - METRICS_STATUS_MIN; i++) {
        into->statuses[i] += get(&block->statuses[i]);
    }
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        histogram_merge(&into->histograms[i], &block->histograms[i]);
    }
}

void metrics_merge(struct metrics_sum *into, const struct metrics *m)
{
    for (uint32_t i = 0; i < m->block_count; i++) {
        if (get(&m->blocks[i].requests) != 0) { /* an unused block's pages stay untouched */
            merge_block(into, &m->blocks[i]);
        }
    }
}
