/* Pages about the whole server: server_page.c (health, and which page is whose), server_page_config.c,
 * server_page_live.c (what the dashboard shows), server_page_lines.c (what `top` does), metrics_page.c and
 * status.c. Any thread. */
#ifndef ENGINE_TELEMETRY_SERVER_PAGE_H
#define ENGINE_TELEMETRY_SERVER_PAGE_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "engine/telemetry/view.h"

/* Appends the page; the HTTP status that belongs to it. */
int server_page(const struct view *view, const struct config *config, enum server_page page, struct buf *out,
                const char **content_type);

/* All settings in effect as JSON; secrets are masked. */
void server_page_config(const struct config *config, struct buf *out);
/* Numbers, workers and processes of this moment as JSON. */
void server_page_live(const struct view *view, const struct config *config, struct buf *out);
/* The same as lines of words with tabs between (server_page_lines.c says which). */
void server_page_lines(const struct view *view, struct buf *out);

#endif
