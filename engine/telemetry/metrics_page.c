/* The /metrics page: Prometheus text 0.0.4 and OpenMetrics 1.0 from the same numbers. One function a family;
 * a family lists every pool before the next one begins, as both formats ask. Any thread. */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/machine.h"
#include "engine/telemetry/metrics_page.h"

struct page {
    struct buf *out;
    bool openmetrics;
    const struct view *view;
    double uptime_s;
};

enum family_type { COUNTER, GAUGE, HISTOGRAM };

/* OpenMetrics names a counter's family without the "_total" that its samples end in. */
static void family(struct page *page, const char *name, enum family_type type, const char *help)
{
    static const char *const words[] = {"counter", "gauge", "histogram"};
    int n = (int)strlen(name);
    if (page->openmetrics && type == COUNTER && n > 6 && strcmp(name + n - 6, "_total") == 0) {
        n -= 6;
    }
    buf_printf(page->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", n, name, help, n, name, words[type]);
}

static void gauge(struct page *page, const char *name, const char *help, double value)
{
    family(page, name, GAUGE, help);
    buf_printf(page->out, "%s %.6g\n", name, value);
}

/* The pool's name as a label value: backslash, quote and newline escaped. */
static void label_pool(struct buf *out, const char *pool)
{
    buf_text(out, "pool=\"");
    for (const char *p = pool; *p; p++) {
        if (*p == '\\' || *p == '"') {
            buf_add(out, "\\", 1);
        }
        buf_add(out, *p == '\n' ? " " : p, 1);
    }
    buf_text(out, "\"");
}

static void per_pool(struct page *page, const char *name, enum family_type type, const char *help,
                     double (*value)(const struct pool_view *))
{
    family(page, name, type, help);
    for (size_t i = 0; i < page->view->pool_count; i++) {
        buf_printf(page->out, "%s{", name);
        label_pool(page->out, page->view->pools[i].name);
        buf_printf(page->out, "} %.17g\n", value(&page->view->pools[i]));
    }
}

#define POOL_VALUE(name, expression)                                                                         \
    static double name(const struct pool_view *pool)                                                         \
    {                                                                                                        \
        return (double)(expression);                                                                         \
    }
POOL_VALUE(value_early, pool->sum.totals[TOTAL_EARLY])
POOL_VALUE(value_crashes, pool->sum.totals[TOTAL_CRASHES])
POOL_VALUE(value_timeouts, pool->sum.totals[TOTAL_TIMEOUTS])
POOL_VALUE(value_swaps, pool->sum.totals[TOTAL_SWAPS])
POOL_VALUE(value_slow, pool->sum.totals[TOTAL_SLOW])
POOL_VALUE(value_opcache, pool->opcache_used_percent)
POOL_VALUE(value_bytes_in, pool->sum.bytes_in)
POOL_VALUE(value_bytes_out, pool->sum.bytes_out)
POOL_VALUE(value_rate_limited, pool->sum.events[EVENT_RATE_LIMITED])
POOL_VALUE(value_tls, pool->sum.events[EVENT_TLS_HANDSHAKE])
POOL_VALUE(value_streams, pool->sum.events[EVENT_H2_STREAM])
POOL_VALUE(value_h2_refused, pool->sum.events[EVENT_H2_REFUSED])
POOL_VALUE(value_log_dropped, pool->sum.events[EVENT_LOG_DROPPED])

static void requests_by_method(struct page *page)
{
    static const char *const names[METHOD_COUNT] = {"GET",    "HEAD",    "POST",  "PUT",  "PATCH",
                                                    "DELETE", "OPTIONS", "QUERY", "OTHER"};
    family(page, "tokio_php_requests_total", COUNTER, "Requests answered, by method.");
    for (size_t i = 0; i < page->view->pool_count; i++) {
        for (int m = 0; m < METHOD_COUNT; m++) {
            if (page->view->pools[i].sum.methods[m] != 0 || m == METHOD_GET) {
                buf_text(page->out, "tokio_php_requests_total{");
                label_pool(page->out, page->view->pools[i].name);
                buf_printf(page->out, ",method=\"%s\"} %llu\n", names[m],
                           (unsigned long long)page->view->pools[i].sum.methods[m]);
            }
        }
    }
}

static void responses_by_status(struct page *page)
{
    family(page, "tokio_php_responses_total", COUNTER, "Responses, by status code.");
    for (size_t i = 0; i < page->view->pool_count; i++) {
        for (int s = METRICS_STATUS_MIN; s <= METRICS_STATUS_MAX; s++) {
            uint64_t n = page->view->pools[i].sum.statuses[s - METRICS_STATUS_MIN];
            if (n != 0) {
                buf_text(page->out, "tokio_php_responses_total{");
                label_pool(page->out, page->view->pools[i].name);
                buf_printf(page->out, ",status=\"%d\"} %llu\n", s, (unsigned long long)n);
            }
        }
    }
}

static void workers_by_state(struct page *page)
{
    family(page, "tokio_php_workers", GAUGE, "Worker threads, by state.");
    for (size_t i = 0; i < page->view->pool_count; i++) {
        const struct pool_view *pool = &page->view->pools[i];
        for (int s = WORKER_CREATING; s <= WORKER_LOST; s++) {
            buf_text(page->out, "tokio_php_workers{");
            label_pool(page->out, pool->name);
            buf_printf(page->out, ",state=\"%s\"} %u\n", worker_state_name((enum worker_state)s),
                       pool->states[s]);
        }
    }
}

/* -- worker scripts: of the pools that have one -- */

static void script_line(struct page *page, const char *name, const struct pool_view *pool, const char *label,
                        const char *word, uint64_t value)
{
    buf_printf(page->out, "%s{", name);
    label_pool(page->out, pool->name);
    buf_printf(page->out, ",%s=\"%s\"} %llu\n", label, word, (unsigned long long)value);
}

static void script_threads(struct page *page, const struct pool_view *pool, const char *name)
{
    for (int s = SCRIPT_STATE_BOOTING; s < SCRIPT_STATES; s++) {
        script_line(page, name, pool, "state", script_state_name((enum script_phase)s),
                    pool->script_states[s]);
    }
}

static void script_restarts(struct page *page, const struct pool_view *pool, const char *name)
{
    for (int r = 0; r < RESTART_REASONS; r++) {
        script_line(page, name, pool, "reason", restart_reason_name((enum restart_reason)r),
                    pool->sum.totals[TOTAL_RESTARTS + r]);
    }
}

/* Numbered as they come, so that a swap makes no new series. */
static void script_memory(struct page *page, const struct pool_view *pool, const char *name)
{
    unsigned number = 0;

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker_row *row = &page->view->workers[pool->first_worker + i];
        char word[16];

        if (row->script_state != SCRIPT_STATE_NONE && !row->draining) {
            snprintf(word, sizeof(word), "%u", number++);
            script_line(page, name, pool, "worker", word, row->script_memory);
        }
    }
}

static void per_script(struct page *page, const char *name, enum family_type type, const char *help,
                       void (*lines)(struct page *, const struct pool_view *, const char *name))
{
    bool first = true;

    for (uint32_t i = 0; i < page->view->pool_count; i++) {
        if (page->view->pools[i].has_script) {
            if (first) {
                family(page, name, type, help);
            }
            first = false;
            lines(page, &page->view->pools[i], name);
        }
    }
}

#define SCRIPT_VALUE(function, expression)                                                                   \
    static void function(struct page *page, const struct pool_view *pool, const char *name)                  \
    {                                                                                                        \
        buf_printf(page->out, "%s{", name);                                                                  \
        label_pool(page->out, pool->name);                                                                   \
        buf_printf(page->out, "} %.17g\n", (double)(expression));                                            \
    }
SCRIPT_VALUE(script_boots, pool->sum.totals[TOTAL_BOOTS])
SCRIPT_VALUE(script_boot_seconds, (double)pool->sum.totals[TOTAL_BOOT_US] / 1e6)
SCRIPT_VALUE(script_boot_failures, pool->sum.totals[TOTAL_BOOT_FAILURES])
SCRIPT_VALUE(script_queue, pool->script_queue)

static void script_families(struct page *page)
{
    per_script(page, "tokio_php_worker_script_threads", GAUGE,
               "Threads that hold the worker script, by what it does.", script_threads);
    per_script(page, "tokio_php_worker_script_boots_total", COUNTER, "Boots of the worker script.",
               script_boots);
    per_script(page, "tokio_php_worker_script_boot_seconds_total", COUNTER, "Time that these boots took.",
               script_boot_seconds);
    per_script(page, "tokio_php_worker_script_boot_failures_total", COUNTER, "Boots that failed.",
               script_boot_failures);
    per_script(page, "tokio_php_worker_script_restarts_total", COUNTER,
               "Ends of a booted worker script that was to go on, by reason.", script_restarts);
    per_script(page, "tokio_php_worker_script_queue", GAUGE, "Requests that wait for the worker script.",
               script_queue);
    per_script(page, "tokio_php_worker_script_memory_bytes", GAUGE,
               "PHP memory that the script of each thread keeps between two requests.", script_memory);
}

/* Prometheus buckets at 1, 2.5 and 5 of each decade: enough for any dashboard; ours inside are finer. */
static void histogram(struct page *page, enum metrics_histogram which, const char *name, const char *help)
{
    static const uint64_t bounds_us[] = {100,     250,     500,     1000,     2500,     5000,
                                         10000,   25000,   50000,   100000,   250000,   500000,
                                         1000000, 2500000, 5000000, 10000000, 30000000, 60000000};
    family(page, name, HISTOGRAM, help);
    for (size_t i = 0; i < page->view->pool_count; i++) {
        const struct histogram_sum *h = &page->view->pools[i].sum.histograms[which];
        const char *pool = page->view->pools[i].name;
        for (size_t b = 0; b < sizeof(bounds_us) / sizeof(bounds_us[0]); b++) {
            buf_printf(page->out, "%s_bucket{", name);
            label_pool(page->out, pool);
            buf_printf(page->out, ",le=\"%g\"} %llu\n", (double)bounds_us[b] / 1e6,
                       (unsigned long long)histogram_count_below(h, bounds_us[b]));
        }
        buf_printf(page->out, "%s_bucket{", name);
        label_pool(page->out, pool);
        buf_printf(page->out, ",le=\"+Inf\"} %llu\n%s_sum{", (unsigned long long)h->count, name);
        label_pool(page->out, pool);
        buf_printf(page->out, "} %.6f\n%s_count{", (double)h->sum_us / 1e6, name);
        label_pool(page->out, pool);
        buf_printf(page->out, "} %llu\n", (unsigned long long)h->count);
    }
}

/* What the dashboards of tokio_php's users ask for without labels. */
static void server_totals(struct page *page)
{
    uint64_t requests = 0, durations = 0, duration_us = 0, dropped = 0, missed = 0;
    int64_t connections = 0, pending = 0;
    for (size_t i = 0; i < page->view->pool_count; i++) {
        const struct histogram_sum *h = &page->view->pools[i].sum.histograms[HISTOGRAM_DURATION];
        requests += page->view->pools[i].sum.requests;
        durations += h->count;
        duration_us += h->sum_us;
        dropped += page->view->pools[i].sum.totals[TOTAL_REJECTED];
        missed += page->view->pools[i].sum.totals[TOTAL_LOG_MISSED];
        connections += page->view->pools[i].sum.connections;
        pending += page->view->pools[i].sum.pending;
    }
    gauge(page, "tokio_php_uptime_seconds", "Seconds since the server started.", page->uptime_s);
    gauge(page, "tokio_php_requests_per_second", "Requests per second since the start.",
          page->uptime_s > 0 ? (double)requests / page->uptime_s : 0);
    gauge(page, "tokio_php_response_time_avg_seconds", "Mean duration of all requests.",
          durations ? (double)duration_us / (double)durations / 1e6 : 0);
    gauge(page, "tokio_php_active_connections", "Open client connections.", (double)connections);
    gauge(page, "tokio_php_pending_requests", "Requests that wait for a worker.", (double)pending);
    gauge(page, "tokio_php_dropped_requests",
          "Requests refused because the queue was full or the wait too long.", (double)dropped);
    family(page, "tokio_php_supervisor_log_lines_dropped_total", COUNTER,
           "Lines that the supervisor's log did not take.");
    buf_printf(page->out, "tokio_php_supervisor_log_lines_dropped_total %llu\n", (unsigned long long)missed);
}

static void node(struct page *page)
{
    struct sysinfo info;
    if (sysinfo(&info) != 0) {
        return;
    }
    double total = (double)info.totalram * info.mem_unit;
    uint64_t free_now = (uint64_t)(info.freeram + info.bufferram) * info.mem_unit;
    uint64_t available = machine_memory_available();
    double used = total - (double)(available > 0 ? available : free_now);
    double load = 1.0 / (1 << SI_LOAD_SHIFT);
    gauge(page, "tokio_php_memory_usage_percent", "Memory of the machine that is in use.",
          total > 0 ? 100.0 * used / total : 0);
    gauge(page, "node_load1", "1m load average.", (double)info.loads[0] * load);
    gauge(page, "node_load5", "5m load average.", (double)info.loads[1] * load);
    gauge(page, "node_load15", "15m load average.", (double)info.loads[2] * load);
    gauge(page, "node_memory_MemTotal_bytes", "Memory of the machine.", total);
    gauge(page, "node_memory_MemAvailable_bytes", "Memory that programs can still get.", total - used);
    gauge(page, "node_memory_MemUsed_bytes", "Memory that programs cannot get.", used);
    gauge(page, "node_memory_MemFree_bytes", "Memory that nothing uses.",
          (double)info.freeram * info.mem_unit);
    gauge(page, "node_memory_Buffers_bytes", "Memory in buffers.", (double)info.bufferram * info.mem_unit);
}

static void pool_families(struct page *page)
{
    requests_by_method(page);
    responses_by_status(page);
    workers_by_state(page);
    per_pool(page, "tokio_php_request_bytes_total", COUNTER, "Bytes of request bodies.", value_bytes_in);
    per_pool(page, "tokio_php_response_bytes_total", COUNTER, "Bytes of response bodies.", value_bytes_out);
    per_pool(page, "tokio_php_early_responses_total", COUNTER, "Responses finished before their script.",
             value_early);
    per_pool(page, "tokio_php_crashes_total", COUNTER, "Worker crashes that were contained.", value_crashes);
    per_pool(page, "tokio_php_timeouts_total", COUNTER, "Requests ended at their deadline.", value_timeouts);
    per_pool(page, "tokio_php_generation_swaps_total", COUNTER, "Engine processes replaced.", value_swaps);
    per_pool(page, "tokio_php_slow_requests_total", COUNTER, "Requests in the slow log.", value_slow);
    per_pool(page, "tokio_php_rate_limited_total", COUNTER, "Requests refused with 429.", value_rate_limited);
    per_pool(page, "tokio_php_tls_handshakes_total", COUNTER, "TLS handshakes completed.", value_tls);
    per_pool(page, "tokio_php_h2_streams_total", COUNTER, "HTTP/2 streams opened.", value_streams);
    per_pool(page, "tokio_php_h2_refused_connections_total", COUNTER, "HTTP/2 connections closed for abuse.",
             value_h2_refused);
    per_pool(page, "tokio_php_log_lines_dropped_total", COUNTER, "Log lines that did not fit.",
             value_log_dropped);
    per_pool(page, "tokio_php_opcache_used_percent", GAUGE, "Fill of the fullest OPcache resource.",
             value_opcache);
    script_families(page);
    histogram(page, HISTOGRAM_DURATION, "tokio_php_request_duration_seconds", "Arrival to end of response.");
    histogram(page, HISTOGRAM_QUEUE, "tokio_php_queue_wait_seconds", "Waiting for a worker.");
    histogram(page, HISTOGRAM_PHP_START, "tokio_php_php_startup_seconds", "PHP's request start-up.");
    histogram(page, HISTOGRAM_SCRIPT, "tokio_php_script_seconds", "The script itself.");
    histogram(page, HISTOGRAM_PHP_SHUTDOWN, "tokio_php_php_shutdown_seconds", "PHP's request shutdown.");
}

void metrics_render(const struct view *view, bool openmetrics, struct buf *out)
{
    struct page page = {
        .out = out,
        .openmetrics = openmetrics,
        .view = view,
        .uptime_s = (double)(clock_wall_us() - view_since_wall_us(view)) / 1e6,
    };
    server_totals(&page);
    pool_families(&page);
    node(&page);
    if (openmetrics) {
        buf_text(out, "# EOF\n");
    }
}
