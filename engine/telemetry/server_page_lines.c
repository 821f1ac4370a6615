/* What server_page_live.c says, as lines of words with tabs between: for `tokiophp top`, which needs no JSON.
 * Texts that a client sent are stripped of everything that a terminal could obey. Any thread. */
#include <sys/sysinfo.h>

#include "engine/base/clock.h"
#include "engine/telemetry/server_page.h"

static unsigned long long number(uint64_t n)
{
    return (unsigned long long)n;
}

static void add_plain(struct buf *out, const char *text)
{
    for (; *text; text++) {
        buf_add(out, *text > 0x20 && *text < 0x7f ? text : "?", 1);
    }
}

static void add_pool(struct buf *out, const struct pool_view *pool)
{
    const struct metrics_sum *sum = &pool->sum;
    uint64_t classes[6] = {0};

    for (int s = METRICS_STATUS_MIN; s <= METRICS_STATUS_MAX; s++) {
        classes[s / 100] += sum->statuses[s - METRICS_STATUS_MIN];
    }
    buf_text(out, "pool\t");
    add_plain(out, pool->name);
    buf_printf(out, "\t%s\t%llu\t%llu\t%llu\t%llu\t%llu", pool_health_name(pool_view_health(pool)),
               number(sum->requests), number(classes[2]), number(classes[3]), number(classes[4]),
               number(classes[5]));
    buf_printf(out, "\t%lld\t%lld\t%llu\t%llu\t%llu\t%llu\t%u\t%u\n", (long long)sum->connections,
               (long long)sum->pending, number(sum->totals[TOTAL_CRASHES]),
               number(sum->totals[TOTAL_TIMEOUTS]), number(sum->totals[TOTAL_SWAPS]),
               number(sum->totals[TOTAL_REJECTED]), pool->opcache_used_percent, pool->max_children);
    buf_text(out, "duration");
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (sum->histograms[HISTOGRAM_DURATION].buckets[i]) {
            buf_printf(out, "\t%zu:%llu", i, number(sum->histograms[HISTOGRAM_DURATION].buckets[i]));
        }
    }
    buf_text(out, "\n");
}

static void add_workers(struct buf *out, const struct view *view, const struct pool_view *pool)
{
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker_row *slot = &view->workers[pool->first_worker + i];

        if (slot->state == WORKER_PARKED) {
            continue;
        }
        bool runs = slot->state >= WORKER_READING && slot->state <= WORKER_FINISHING;
        uint64_t now = clock_us();

        buf_printf(out, "worker\t%d\t%u\t%d\t%llu\t%llu\t%llu\t%s\t", (int)slot->process, slot->generation,
                   runs ? 1 : 0,
                   number(runs && now > slot->accepted_us ? now - slot->accepted_us : slot->duration_us),
                   number(slot->memory_peak), number(slot->requests), worker_state_name(slot->state));
        add_plain(out, slot->method[0] ? slot->method : "-");
        buf_text(out, "\t");
        add_plain(out, slot->uri[0] ? slot->uri : "-");
        buf_text(out, "\n");
    }
}

void server_page_lines(const struct view *view, struct buf *out)
{
    struct sysinfo info = {.mem_unit = 1};

    if (sysinfo(&info) != 0) {
        out->failed = true;
        return;
    }
    buf_printf(out, "server\t" TOKIOPHP_VERSION "\t%llu\t%llu\t%.2f\t%llu\t%llu\n", number(clock_us()),
               number((clock_wall_us() - view_since_wall_us(view)) / CLOCK_US_PER_SECOND),
               (double)info.loads[0] / (1 << SI_LOAD_SHIFT),
               number((uint64_t)(info.totalram - info.freeram - info.bufferram) * info.mem_unit),
               number((uint64_t)info.totalram * info.mem_unit));
    for (uint32_t i = 0; i < view->pool_count; i++) {
        add_pool(out, &view->pools[i]);
        add_workers(out, view, &view->pools[i]);
    }
}
