/* The path of a request as text: decoded once, cleaned, refused where it could mean two things. Pure
 * functions; any thread. */
#ifndef HTTP_WIRE_PATH_H
#define HTTP_WIRE_PATH_H

#include "engine/base/buf.h"
#include "engine/base/str.h"

#define PATH_TEXT_MAX 3072 /* bytes of a decoded path; leaves room for a document root within PATH_MAX */

/* The decoded path in out (PATH_TEXT_MAX + 1 bytes, NUL-terminated), with empty and "." segments dropped.
 * Gives its length; or minus the status to answer: 400 (malformed, "..", NUL, backslash, encoded slash,
 * overlong UTF-8), 403 (a hidden file, except below /.well-known) or 414. */
int path_clean(struct str raw, char *out);

/* Percent-encodes what may not stand in a Location's path. Gives the length, or 0 when it does not fit. */
size_t path_encode(struct str path, char *out, size_t size);

#endif
