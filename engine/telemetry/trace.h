/* Who this request is: its id, and its place in a distributed trace (W3C Trace Context, level 1). Pure
 * functions over text and a random source; any thread. */
#ifndef ENGINE_TELEMETRY_TRACE_H
#define ENGINE_TELEMETRY_TRACE_H

#include "engine/engine.h"

/* Fills out->id, trace ids and state. Arguments are header values, STR_NONE where absent. A valid traceparent
 * is continued under a new span id; anything else starts a new trace and drops the tracestate. A request id
 * is kept if it is 1..64 of [A-Za-z0-9._~:+/=@-]. */
void trace_begin(struct request_trace *out, struct str request_id, struct str traceparent,
                 struct str tracestate);

/* "00-<trace>-<span>-<flags>" of this request, for the response: 55 characters and a NUL. */
void trace_format(const struct request_trace *trace, char out[TRACEPARENT_SIZE]);

/* The two checks of trace_begin(), for tests. */
bool trace_parse_parent(struct str value, struct request_trace *out);
bool trace_state_valid(struct str value);

#endif
