/* The whole server as one engine process sees it: the scoreboards of all pools, mapped before the fork, and
 * the configuration. The pages about it are made by server.c (health), server_config.c, server_live.c (what
 * the dashboard and `top` show), metrics_page.c and status.c. */
#ifndef ENGINE_TELEMETRY_SERVER_H
#define ENGINE_TELEMETRY_SERVER_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/telemetry/scoreboard.h"

/* Read-only after the fork; lives as long as the process. */
struct server_view {
    const struct config *config;
    struct scoreboard *const *boards;
    size_t count;
};

/* How a pool is, for health checks. */
enum pool_health {
    POOL_OK,       /* a worker is free, or can be made */
    POOL_BUSY,     /* all workers run requests */
    POOL_STARTING, /* no worker is up yet */
    POOL_DOWN,     /* it has no worker */
};
enum pool_health server_pool_health(const struct scoreboard *board);
const char *server_health_name(enum pool_health health);
bool server_draining(const struct server_view *server);
uint64_t server_started_wall_us(const struct server_view *server);

/* A page, as pool_server_page() of engine.h says. server: NULL = nothing is known, 503. */
int server_page(const struct server_view *server, enum server_page page, struct buf *out, const char **type);

/* All settings in effect as JSON; secrets are masked. */
void server_config_json(const struct server_view *server, struct buf *out);
/* Numbers, workers and processes of this moment as JSON. */
void server_live_json(const struct server_view *server, struct buf *out);
/* The same as lines of words with tabs between (server_lines.c says which). */
void server_live_lines(const struct server_view *server, struct buf *out);

#endif
