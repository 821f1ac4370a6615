/* What happens in the server at this moment, as JSON: the dashboard and `tokiophp top` draw it. Counters only
 * grow: whoever draws asks twice and shows the difference. Histograms are sparse lists of
 * [upper bound in us, count]. Any thread. */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/telemetry/server_page.h"

#define WORKERS_SHOWN   256
#define PROCESSES_SHOWN 64

static void add_histogram(struct buf *out, const char *name, const struct histogram_sum *h)
{
    bool first = true;

    buf_printf(out, "\"%s\":[", name);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (h->buckets[i]) {
            buf_printf(out, "%s[%llu,%llu]", first ? "" : ",", (unsigned long long)histogram_upper(i),
                       (unsigned long long)h->buckets[i]);
            first = false;
        }
    }
    buf_text(out, "]");
}

static void add_counters(struct buf *out, const struct pool_view *pool)
{
    const struct metrics_sum *sum = &pool->sum;
    uint64_t classes[6] = {0};
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"requests", sum->requests},
        {"bytes_in", sum->bytes_in},
        {"bytes_out", sum->bytes_out},
        {"rejected", sum->totals[TOTAL_REJECTED]},
        {"rate_limited", sum->events[EVENT_RATE_LIMITED]},
        {"crashes", sum->totals[TOTAL_CRASHES]},
        {"timeouts", sum->totals[TOTAL_TIMEOUTS]},
        {"slow", sum->totals[TOTAL_SLOW]},
        {"early", sum->totals[TOTAL_EARLY]},
        {"swaps", sum->totals[TOTAL_SWAPS]},
        {"tls_handshakes", sum->events[EVENT_TLS_HANDSHAKE]},
        {"h2_streams", sum->events[EVENT_H2_STREAM]},
        {"log_dropped", sum->events[EVENT_LOG_DROPPED]},
        {"opcache_percent", pool->opcache_used_percent},
        {"memory_peak", pool->memory_peak},
        {"max_children", pool->max_children},
    };

    for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
        buf_printf(out, "\"%s\":%llu,", counters[i].name, (unsigned long long)counters[i].value);
    }
    for (int s = METRICS_STATUS_MIN; s <= METRICS_STATUS_MAX; s++) {
        classes[s / 100] += sum->statuses[s - METRICS_STATUS_MIN];
    }
    buf_printf(out, "\"connections\":%lld,\"pending\":%lld,\"statuses\":[%llu,%llu,%llu,%llu,%llu],",
               (long long)sum->connections, (long long)sum->pending, (unsigned long long)classes[1],
               (unsigned long long)classes[2], (unsigned long long)classes[3], (unsigned long long)classes[4],
               (unsigned long long)classes[5]);
}

/* Resident bytes of a process, 0 if it cannot be told. */
static uint64_t resident(pid_t pid)
{
    char path[64];
    unsigned long long size = 0, pages = 0;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f) {
        return 0;
    }
    int n = fscanf(f, "%llu %llu", &size, &pages);
    fclose(f);
    return n == 2 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

struct process_row {
    pid_t pid;
    uint32_t generation, workers, busy;
    uint64_t since_wall_us;
};

static void note_process(struct process_row *rows, size_t *count, const struct worker_row *slot)
{
    size_t i = 0;

    while (i < *count && rows[i].pid != slot->process) {
        i++;
    }
    if (i == PROCESSES_SHOWN) {
        return;
    }
    if (i == *count) {
        rows[(*count)++] = (struct process_row){
            .pid = slot->process, .generation = slot->generation, .since_wall_us = slot->start_wall_us};
    }
    rows[i].workers++;
    rows[i].busy += slot->state >= WORKER_READING && slot->state <= WORKER_FINISHING;
    if (slot->start_wall_us < rows[i].since_wall_us) {
        rows[i].since_wall_us = slot->start_wall_us;
    }
}

static void add_worker(struct buf *out, uint32_t id, const struct worker_row *slot, bool first)
{
    uint64_t now = clock_us();
    bool runs = slot->state >= WORKER_READING && slot->state <= WORKER_FINISHING;
    uint64_t us = runs && now > slot->accepted_us ? now - slot->accepted_us : 0;

    buf_printf(out,
               "%s{\"id\":%u,\"state\":\"%s\",\"pid\":%d,\"tid\":%d,\"generation\":%u,\"requests\":%llu,"
               "\"memory\":%llu,\"us\":%llu,\"last_us\":%llu,\"script_state\":\"%s\",\"script_memory\":%llu,"
               "\"method\":\"",
               first ? "" : ",", id, worker_state_name(slot->state), (int)slot->process, (int)slot->tid,
               slot->generation, (unsigned long long)slot->requests, (unsigned long long)slot->memory_peak,
               (unsigned long long)us, (unsigned long long)slot->duration_us,
               script_state_name(slot->script_state), (unsigned long long)slot->script_memory);
    buf_json(out, str_of(slot->method));
    buf_text(out, "\",\"uri\":\"");
    buf_json(out, str_of(slot->uri));
    buf_text(out, "\",\"script\":\"");
    buf_json(out, str_of(slot->script));
    buf_text(out, "\"}");
}

static void add_workers(struct buf *out, const struct view *view, const struct pool_view *pool)
{
    struct process_row rows[PROCESSES_SHOWN];
    size_t processes = 0, shown = 0;
    uint64_t wall = clock_wall_us();

    buf_text(out, "\"workers\":[");
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker_row *row = &view->workers[pool->first_worker + i];

        note_process(rows, &processes, row);
        if (shown < WORKERS_SHOWN) {
            add_worker(out, i, row, shown++ == 0);
        }
    }
    buf_text(out, "],\"processes\":[");
    for (size_t i = 0; i < processes; i++) {
        buf_printf(out,
                   "%s{\"pid\":%d,\"generation\":%u,\"workers\":%u,\"busy\":%u,\"memory\":%llu,"
                   "\"seconds\":%llu}",
                   i ? "," : "", (int)rows[i].pid, rows[i].generation, rows[i].workers, rows[i].busy,
                   (unsigned long long)resident(rows[i].pid),
                   (unsigned long long)((wall - rows[i].since_wall_us) / CLOCK_US_PER_SECOND));
    }
    buf_text(out, "]");
}

static void add_pool(struct buf *out, const struct view *view, const struct pool_view *pool)
{
    static const char *const kinds[] = {"static", "static", "dynamic", "ondemand"};

    buf_text(out, "{\"name\":\"");
    buf_json(out, str_of(pool->name));
    buf_printf(out, "\",\"pm\":\"%s\",\"health\":\"%s\",", kinds[pool->pm & 3],
               pool_health_name(pool_view_health(pool)));
    add_counters(out, pool);
    add_histogram(out, "duration", &pool->sum.histograms[HISTOGRAM_DURATION]);
    buf_text(out, ",");
    add_histogram(out, "queue", &pool->sum.histograms[HISTOGRAM_QUEUE]);
    buf_text(out, ",");
    add_workers(out, view, pool);
    buf_text(out, "}");
}

void server_page_live(const struct view *view, const struct config *config, struct buf *out)
{
    struct sysinfo info = {.mem_unit = 1};
    uint64_t wall = clock_wall_us();
    double load = 1.0 / (1 << SI_LOAD_SHIFT);

    if (sysinfo(&info) != 0) {
        out->failed = true;
        return;
    }
    buf_printf(out, "{\"version\":\"" TOKIOPHP_VERSION "\",\"now_us\":%llu,\"uptime\":%llu,\"draining\":%s,",
               (unsigned long long)clock_us(),
               (unsigned long long)((wall - view_since_wall_us(view)) / CLOCK_US_PER_SECOND),
               view->finishing ? "true" : "false");
    buf_printf(out, "\"load\":[%.2f,%.2f,%.2f],\"cpus\":%ld,", (double)info.loads[0] * load,
               (double)info.loads[1] * load, (double)info.loads[2] * load, sysconf(_SC_NPROCESSORS_ONLN));
    buf_printf(out, "\"memory_total\":%llu,\"memory_free\":%llu,\"service\":\"",
               (unsigned long long)info.totalram * info.mem_unit,
               (unsigned long long)(info.freeram + info.bufferram) * info.mem_unit);
    buf_json(out, str_of(config->global.service_name));
    buf_text(out, "\",\"pools\":[");
    for (uint32_t i = 0; i < view->pool_count; i++) {
        buf_text(out, i ? "," : "");
        add_pool(out, view, &view->pools[i]);
    }
    buf_text(out, "]}\n");
}
