/* Conditional requests (RFC 9110 13). Pure functions; any thread. */
#ifndef HTTP_WIRE_CONDITIONAL_H
#define HTTP_WIRE_CONDITIONAL_H

#include "http/wire/head.h"

enum condition { CONDITION_GO, CONDITION_NOT_MODIFIED, CONDITION_FAILED };

/* etag: with its quotes; modified: seconds. For GET and HEAD of something that exists. */
enum condition conditional_check(const struct http_head *head, struct str etag, int64_t modified);
/* May a Range be honoured (no If-Range, or it names exactly this state)? */
bool conditional_range_holds(const struct http_head *head, struct str etag, int64_t modified);

#endif
