/* php-fpm's status page from a scoreboard: text, json, xml, html, openmetrics; `full` adds every worker. Any
 * thread. */
#ifndef ENGINE_TELEMETRY_STATUS_H
#define ENGINE_TELEMETRY_STATUS_H

#include "engine/base/buf.h"
#include "engine/telemetry/scoreboard.h"

/* query: "full&json" ...; content_type without charset. */
void status_render(const struct scoreboard *board, const char *query, struct buf *out,
                   const char **content_type);

#endif
