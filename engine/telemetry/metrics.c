/* Counters on a board: who has which block, adding, merging. The page that shows them is metrics_page.c. */
#include "engine/telemetry/metrics.h"

#include <string.h>

/* -- who has which block -- */

static void note_used(struct scoreboard *board, uint32_t count)
{
    uint32_t seen = atomic_load(&board->numbers->blocks_used);

    while (seen < count && !atomic_compare_exchange_weak(&board->numbers->blocks_used, &seen, count)) {
    }
}

struct metrics_block *metrics_claim(struct scoreboard *board)
{
    for (uint32_t i = 0; i < board->size.blocks; i++) {
        struct metrics_block *block = &board->blocks[i];
        int nobody = 0;

        if (atomic_compare_exchange_strong(&block->claimed, &nobody, 1)) {
            atomic_store(&block->connections, 0);
            atomic_store(&block->pending, 0);
            note_used(board, i + 1);
            return block;
        }
    }
    return NULL;
}

void metrics_release(struct metrics_block *block)
{
    if (block) {
        atomic_store(&block->claimed, 0);
    }
}

/* -- counting -- */

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

static void add_times(struct metrics_block *block, const struct metrics_facts *facts, int first)
{
    for (int i = first; i < HISTOGRAM_COUNT; i++) {
        if (facts->times[i] != UINT64_MAX) {
            histogram_add(&block->histograms[i], facts->times[i]);
        }
    }
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
    add_times(block, facts, 0);
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
                [HISTOGRAM_PHP_SHUTDOWN] = between(t->script_done, t->ended ? t->ended : ended_us),
            },
    };
    if (block && r->counted_elsewhere) {
        add_times(block, &facts, HISTOGRAM_QUEUE);
    } else if (block) {
        metrics_add(block, &facts);
    }
}

void metrics_count(struct scoreboard *board, enum metrics_total which, uint64_t n)
{
    atomic_fetch_add_explicit(&board->numbers->totals[which], n, memory_order_relaxed);
}

uint64_t metrics_counted(const struct scoreboard *board, enum metrics_total which)
{
    return atomic_load_explicit(&board->numbers->totals[which], memory_order_relaxed);
}

/* -- reading -- */

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static int64_t get_gauge(const _Atomic int64_t *gauge)
{
    int64_t n = atomic_load_explicit(gauge, memory_order_relaxed);

    return n > INT32_MAX ? INT32_MAX : n < INT32_MIN ? INT32_MIN : n;
}

void metrics_merge(struct metrics_sum *into, const struct metrics_block *block)
{
    into->connections += get_gauge(&block->connections);
    into->pending += get_gauge(&block->pending);
    for (int e = 0; e < POOL_EVENTS; e++) {
        into->events[e] += get(&block->events[e]);
    }
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
