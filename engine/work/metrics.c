/* Counters in shared memory: adding and merging. The page that shows them is metrics_page.c. */
#include "engine/work/metrics.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

static size_t metrics_size(uint32_t block_count)
{
    return sizeof(struct metrics) + block_count * sizeof(struct metrics_block);
}

struct metrics *metrics_create(uint32_t slot_blocks, uint32_t claim_blocks)
{
    struct metrics *m = mmap(NULL, metrics_size(slot_blocks + claim_blocks), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) {
        return NULL;
    }
    m->slot_blocks = slot_blocks;
    m->claim_blocks = claim_blocks;
    return m;
}

void metrics_destroy(struct metrics *m)
{
    if (m) {
        munmap(m, metrics_size(m->slot_blocks + m->claim_blocks));
    }
}

/* -- who has which block ------------------------------------------------------------------------------- */

static void note_used(_Atomic uint32_t *used, uint32_t count)
{
    uint32_t seen = atomic_load(used);
    while (seen < count && !atomic_compare_exchange_weak(used, &seen, count)) {
    }
}

struct metrics_block *metrics_slot(struct metrics *m, uint32_t slot)
{
    note_used(&m->slots_used, slot + 1);
    return &m->blocks[slot];
}

static void clear_gauges(struct metrics_block *block)
{
    atomic_store(&block->connections, 0);
    atomic_store(&block->pending, 0);
}

static bool is_dead(pid_t process)
{
    return kill(process, 0) != 0 && errno == ESRCH;
}

struct metrics_block *metrics_claim(struct metrics *m, pid_t process)
{
    for (uint32_t i = 0; i < m->claim_blocks; i++) {
        struct metrics_block *block = &m->blocks[m->slot_blocks + i];
        pid_t owner = i < atomic_load(&m->claims_used) ? atomic_load(&block->owner) : 0;
        if ((owner == 0 || (owner != process && is_dead(owner))) &&
            atomic_compare_exchange_strong(&block->owner, &owner, process)) {
            clear_gauges(block);
            note_used(&m->claims_used, i + 1);
            return block;
        }
    }
    return NULL;
}

void metrics_reap(struct metrics *m, pid_t process)
{
    for (uint32_t i = 0; i < atomic_load(&m->claims_used); i++) {
        struct metrics_block *block = &m->blocks[m->slot_blocks + i];
        if (atomic_load(&block->owner) == process) {
            clear_gauges(block);
            atomic_store(&block->owner, 0);
        }
    }
}

/* -- counting ------------------------------------------------------------------------------------------ */

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

/* From one point in time to a later one, if both were reached. */
static uint64_t between(uint64_t from, uint64_t to)
{
    return from == 0 || to < from ? UINT64_MAX : to - from;
}

void metrics_add_request(struct metrics_block *block, const struct request *r, uint64_t ended_us)
{
    const struct request_times *t = &r->times;
    uint64_t arrived = t->accepted ? t->accepted : t->started;
    struct metrics_facts facts = {
        .method = metrics_method(r->method ? r->method : "", r->method ? strlen(r->method) : 0),
        .status = r->status,
        .bytes_in = r->body_read,
        .bytes_out = r->body_sent,
        .times =
            {
                [HISTOGRAM_DURATION] = between(arrived, t->finished ? t->finished : ended_us),
                [HISTOGRAM_QUEUE] = between(t->queued, t->started),
                [HISTOGRAM_PHP_START] = between(t->started, t->php_started),
                [HISTOGRAM_SCRIPT] = between(t->php_started, t->script_done),
                [HISTOGRAM_PHP_SHUTDOWN] = between(t->script_done, ended_us),
            },
    };
    if (block) {
        metrics_add(block, &facts);
    }
}

/* -- reading ------------------------------------------------------------------------------------------- */

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

static void merge_blocks(struct metrics_sum *into, const struct metrics_block *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (get(&blocks[i].requests) != 0) { /* an unused block's pages stay untouched */
            merge_block(into, &blocks[i]);
        }
    }
}

void metrics_merge(struct metrics_sum *into, const struct metrics *m)
{
    const struct metrics_block *claimed = &m->blocks[m->slot_blocks];
    uint32_t count = atomic_load(&m->claims_used);
    merge_blocks(into, m->blocks, atomic_load(&m->slots_used));
    merge_blocks(into, claimed, count);
    for (uint32_t i = 0; i < count; i++) {
        into->connections += atomic_load_explicit(&claimed[i].connections, memory_order_relaxed);
        into->pending += atomic_load_explicit(&claimed[i].pending, memory_order_relaxed);
        for (int e = 0; e < POOL_EVENTS; e++) {
            into->events[e] += get(&claimed[i].events[e]);
        }
    }
}

void metrics_total(const struct metrics *m, struct metrics_totals *out)
{
    uint32_t slots = atomic_load(&m->slots_used), claims = atomic_load(&m->claims_used);
    *out = (struct metrics_totals){0};
    for (uint32_t i = 0; i < slots; i++) {
        out->requests += get(&m->blocks[i].requests);
    }
    for (uint32_t i = m->slot_blocks; i < m->slot_blocks + claims; i++) {
        out->requests += get(&m->blocks[i].requests);
        out->connections += atomic_load_explicit(&m->blocks[i].connections, memory_order_relaxed);
    }
}
