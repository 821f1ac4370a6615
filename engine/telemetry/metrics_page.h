/* The /metrics page over the pools of a view: Prometheus text 0.0.4, or OpenMetrics 1.0. Any thread. */
#ifndef ENGINE_TELEMETRY_METRICS_PAGE_H
#define ENGINE_TELEMETRY_METRICS_PAGE_H

#include "engine/base/buf.h"
#include "engine/telemetry/view.h"

void metrics_render(const struct view *view, bool openmetrics, struct buf *out);

#endif
