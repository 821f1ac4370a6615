/* Access log lines of fixed forms: JSON, and the "combined" form that log analysers know. Any thread. */
#ifndef ENGINE_TELEMETRY_ACCESS_LINE_H
#define ENGINE_TELEMETRY_ACCESS_LINE_H

#include "engine/telemetry/access_facts.h"

#define ACCESS_LINE_MAX     13312
#define ACCESS_LINE_SERVICE 304

/* What JSON lines say of a service, made once: its name as a JSON string, or null. Its length. */
size_t access_line_service(const char *name, char out[ACCESS_LINE_SERVICE]);
/* A whole line with its newline in out, of ACCESS_LINE_MAX bytes; its length. Long texts are cut, the line is
 * always well-formed. The request's ids are made if they are not there. */
size_t access_line_json(struct request *r, const struct access_facts *facts, struct str service, char *out);
size_t access_line_combined(const struct request *r, const struct access_facts *facts, char *out);

#endif
