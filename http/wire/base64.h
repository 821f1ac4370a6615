/* base64 (RFC 4648, section 4), as credentials carry it, and base64url (section 5), as HTTP2-Settings does.
 * Pure; any thread. */
#ifndef HTTP_WIRE_BASE64_H
#define HTTP_WIRE_BASE64_H

#include <sys/types.h>

#include "engine/base/str.h"

/* Bytes written to out, or -1: not base64url, or more than size. Padding is neither needed nor allowed. */
ssize_t base64url_decode(struct str text, unsigned char *out, size_t size);
/* Padding may be there, or not. */
ssize_t base64_decode(struct str text, unsigned char *out, size_t size);

#endif
