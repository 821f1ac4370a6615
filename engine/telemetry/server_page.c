/* Pages about the whole server, made from a view. Any thread. */
#include "engine/telemetry/server_page.h"

#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/telemetry/metrics_page.h"
#include "engine/telemetry/status.h"

#define JSON "application/json"

/* -- health -- */

static void add_timestamp(struct buf *out)
{
    buf_printf(out, "\"timestamp\":%llu", (unsigned long long)(clock_wall_us() / CLOCK_US_PER_SECOND));
}

static void add_pool(const struct pool_view *pool, struct buf *out)
{
    buf_text(out, "{\"name\":\"");
    buf_json(out, str_of(pool->name));
    buf_printf(out, "\",\"status\":\"%s\",\"workers\":%u,\"idle\":%u,\"active\":%u}",
               pool_health_name(pool_view_health(pool)), pool->idle + pool->active, pool->idle, pool->active);
}

/* Does every pool answer, and will it go on to? */
static bool is_ready(const struct view *view, const char **word)
{
    *word = "draining";
    if (view->finishing) {
        return false;
    }
    for (uint32_t i = 0; i < view->pool_count; i++) {
        enum pool_health health = pool_view_health(&view->pools[i]);

        if (health >= POOL_STARTING) {
            *word = pool_health_name(health);
            return false;
        }
    }
    *word = "ok";
    return true;
}

static void add_numbers(const struct view *view, struct buf *out)
{
    uint64_t requests = 0;
    int64_t connections = 0;

    for (uint32_t i = 0; i < view->pool_count; i++) {
        requests += view->pools[i].sum.requests;
        connections += view->pools[i].sum.connections;
    }
    buf_printf(out, ",\"active_connections\":%lld,\"total_requests\":%llu,\"pools\":[",
               (long long)connections, (unsigned long long)requests);
    for (uint32_t i = 0; i < view->pool_count; i++) {
        buf_text(out, i ? "," : "");
        add_pool(&view->pools[i], out);
    }
    buf_text(out, "]");
}

static int health(const struct view *view, bool full, struct buf *out)
{
    const char *word;
    bool ready = is_ready(view, &word);

    buf_printf(out, "{\"status\":\"%s\",", word);
    add_timestamp(out);
    if (full) {
        add_numbers(view, out);
    }
    buf_text(out, "}\n");
    return ready ? 200 : 503;
}

/* -- the others -- */

static void live(struct buf *out)
{
    buf_text(out, "{\"status\":\"alive\",");
    add_timestamp(out);
    buf_text(out, "}\n");
}

static void status(const struct view *view, struct buf *out)
{
    const char *type;

    buf_text(out, "[");
    for (uint32_t i = 0; i < view->pool_count; i++) {
        buf_text(out, i ? ",\n" : "");
        status_render(view, &view->pools[i], "json&full", out, &type);
    }
    buf_text(out, "]\n");
}

/* Counters of a part of the server would look like a restart to whoever adds them up. */
static int metrics(const struct view *view, bool openmetrics, struct buf *out, const char **type)
{
    *type = openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                        : "text/plain; version=0.0.4; charset=utf-8";
    if (view->partial) {
        return 503;
    }
    metrics_render(view, openmetrics, out);
    return 200;
}

int server_page(const struct view *view, const struct config *config, enum server_page page, struct buf *out,
                const char **type)
{
    int code = 200;

    *type = JSON;
    switch (page) {
    case SERVER_LIVE: live(out); break;
    case SERVER_READY: code = health(view, false, out); break;
    case SERVER_HEALTH: code = health(view, true, out); break;
    case SERVER_STATUS: status(view, out); break;
    case SERVER_CONFIG: server_page_config(config, out); break;
    case SERVER_LIVE_NUMBERS: server_page_live(view, config, out); break;
    case SERVER_HISTORY:
    case SERVER_SCRIPTS: code = 503; break; /* the supervisor's alone */
    case SERVER_METRICS:
    case SERVER_OPENMETRICS: code = metrics(view, page == SERVER_OPENMETRICS, out, type); break;
    }
    return out->failed ? 500 : code;
}
