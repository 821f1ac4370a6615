/* php-fpm's status page from a view: text, json, xml, html, openmetrics; `full` adds every worker. Any
 * thread. */
#ifndef ENGINE_TELEMETRY_STATUS_H
#define ENGINE_TELEMETRY_STATUS_H

#include "engine/base/buf.h"
#include "engine/telemetry/view.h"

/* query: "full&json" ...; content_type without charset. */
void status_render(const struct view *view, const struct pool_view *pool, const char *query, struct buf *out,
                   const char **content_type);

#endif
