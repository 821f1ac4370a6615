/* HTTP's dates. Any thread; no locale, no time zone. */
#ifndef HTTP_WIRE_HTTP_DATE_H
#define HTTP_WIRE_HTTP_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/str.h"

#define HTTP_DATE_N 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */

void http_date_print(int64_t seconds, char out[HTTP_DATE_N + 1]);
/* All three forms of RFC 9110. False: not a date. */
bool http_date_parse(struct str text, int64_t *seconds);

#endif
