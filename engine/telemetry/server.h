/* Pages about the whole server: server.c (health, and which page is whose), server_config.c, server_live.c
 * (what the dashboard shows), server_lines.c (what `top` does), metrics_page.c and status.c. Any thread. */
#ifndef ENGINE_TELEMETRY_SERVER_H
#define ENGINE_TELEMETRY_SERVER_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/telemetry/view.h"

/* Appends the page; the HTTP status that belongs to it. */
int server_page(const struct view *view, const struct config *config, enum server_page page, struct buf *out,
                const char **content_type);

/* All settings in effect as JSON; secrets are masked. */
void server_config_json(const struct config *config, struct buf *out);
/* Numbers, workers and processes of this moment as JSON. */
void server_live_json(const struct view *view, const struct config *config, struct buf *out);
/* The same as lines of words with tabs between (server_lines.c says which). */
void server_live_lines(const struct view *view, struct buf *out);

#endif
