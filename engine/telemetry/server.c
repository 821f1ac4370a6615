/* Pages about the whole server, made from shared memory alone: no lock, no other thread's answer, so they
 * work while every worker and every loop is stuck. Any thread. */
#include "engine/telemetry/server.h"

#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/telemetry/metrics.h"
#include "engine/telemetry/status.h"

#define JSON "application/json"

/* -- health -- */

const char *server_health_name(enum pool_health health)
{
    static const char *const names[] = {"ok", "busy", "starting", "down"};

    return names[health];
}

enum pool_health server_pool_health(const struct scoreboard *board)
{
    uint32_t states[WORKER_LOST + 1] = {0}, working = 0;

    for (uint32_t i = 0; i < atomic_load(&board->slots_used); i++) {
        states[scoreboard_state(board, i)]++;
    }
    for (int state = WORKER_READING; state <= WORKER_FINISHING; state++) {
        working += states[state];
    }
    if (states[WORKER_IDLE] + states[WORKER_PARKED] > 0 || (board->pm == PM_ONDEMAND && working == 0) ||
        atomic_load(&board->others_serve)) {
        return POOL_OK;
    }
    return working > 0 ? POOL_BUSY : states[WORKER_CREATING] > 0 ? POOL_STARTING : POOL_DOWN;
}

bool server_draining(const struct server_view *server)
{
    for (size_t i = 0; i < server->count; i++) {
        if (atomic_load(&server->boards[i]->finishing)) {
            return true;
        }
    }
    return false;
}

uint64_t server_started_wall_us(const struct server_view *server)
{
    uint64_t first = clock_wall_us();

    for (size_t i = 0; i < server->count; i++) {
        uint64_t started = server->boards[i]->metrics->shared->start_wall_us;

        first = started < first ? started : first;
    }
    return first;
}

static void add_timestamp(struct buf *out)
{
    buf_printf(out, "\"timestamp\":%llu", (unsigned long long)(clock_wall_us() / CLOCK_US_PER_SECOND));
}

static void add_pool(const struct scoreboard *board, struct buf *out)
{
    uint32_t idle, active, total;

    scoreboard_count(board, &idle, &active, &total);
    buf_text(out, "{\"name\":\"");
    buf_json(out, str_of(board->pool));
    buf_printf(out, "\",\"status\":\"%s\",\"workers\":%u,\"idle\":%u,\"active\":%u}",
               server_health_name(server_pool_health(board)), total, idle, active);
}

/* Does every pool answer, and will it go on to? */
static bool is_ready(const struct server_view *server, const char **word)
{
    *word = "draining";
    if (server_draining(server)) {
        return false;
    }
    for (size_t i = 0; i < server->count; i++) {
        enum pool_health health = server_pool_health(server->boards[i]);

        if (health >= POOL_STARTING) {
            *word = server_health_name(health);
            return false;
        }
    }
    *word = "ok";
    return true;
}

static int health(const struct server_view *server, bool full, struct buf *out)
{
    const char *word;
    bool ready = is_ready(server, &word);

    buf_printf(out, "{\"status\":\"%s\",", word);
    add_timestamp(out);
    if (full) {
        uint64_t requests = 0;
        int64_t connections = 0;
        struct metrics_totals totals;

        for (size_t i = 0; i < server->count; i++) {
            metrics_total(server->boards[i]->metrics, &totals);
            requests += totals.requests;
            connections += totals.connections;
        }
        buf_printf(out, ",\"active_connections\":%lld,\"total_requests\":%llu,\"pools\":[",
                   (long long)connections, (unsigned long long)requests);
        for (size_t i = 0; i < server->count; i++) {
            buf_text(out, i ? "," : "");
            add_pool(server->boards[i], out);
        }
        buf_text(out, "]");
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

static void status(const struct server_view *server, struct buf *out)
{
    const char *type;

    buf_text(out, "[");
    for (size_t i = 0; i < server->count; i++) {
        buf_text(out, i ? ",\n" : "");
        status_render(server->boards[i], "json&full", out, &type);
    }
    buf_text(out, "]\n");
}

int server_page(const struct server_view *server, enum server_page page, struct buf *out, const char **type)
{
    *type = JSON;
    if (!server) {
        return 503;
    }
    switch (page) {
    case SERVER_LIVE: live(out); break;
    case SERVER_READY: return health(server, false, out);
    case SERVER_HEALTH: return health(server, true, out);
    case SERVER_STATUS: status(server, out); break;
    case SERVER_CONFIG: server_config_json(server, out); break;
    case SERVER_LIVE_NUMBERS: server_live_json(server, out); break;
    case SERVER_METRICS:
    case SERVER_OPENMETRICS:
        *type = page == SERVER_METRICS ? "text/plain; version=0.0.4; charset=utf-8"
                                       : "application/openmetrics-text; version=1.0.0; charset=utf-8";
        metrics_render(server->boards, server->count, server_started_wall_us(server),
                       page == SERVER_OPENMETRICS, out);
        break;
    }
    return out->failed ? 500 : 200;
}
