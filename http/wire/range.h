/* The Range field (RFC 9110 14). Pure functions; any thread. */
#ifndef HTTP_WIRE_RANGE_H
#define HTTP_WIRE_RANGE_H

#include "engine/base/str.h"

#define RANGE_MAX 16 /* more pieces than this and the whole file is sent */

struct range {
    uint64_t first, last; /* both inside */
};

enum range_result { RANGE_WHOLE, RANGE_PARTS, RANGE_UNSATISFIABLE };

/* What of a file of `size` bytes is asked for. RANGE_WHOLE: not a range of bytes, malformed, overlapping or
 * too many (such a field is ignored); RANGE_PARTS: *count (1 or more) in out, in the order asked for. */
enum range_result range_parse(struct str value, uint64_t size, struct range out[RANGE_MAX], size_t *count);

#endif
