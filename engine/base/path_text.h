/* The path of a request as an application reads it. Pure functions; any thread. */
#ifndef ENGINE_BASE_PATH_TEXT_H
#define ENGINE_BASE_PATH_TEXT_H

#include "engine/base/str.h"

#define PATH_TEXT_MAX 3072 /* bytes of a decoded path; leaves room for a document root within PATH_MAX */

/* All of it as an application gets it, in out (PATH_TEXT_MAX + 1 bytes, NUL-terminated): decoded once, empty
 * and "." segments dropped, ".." takes the segment before it. Gives its length; -400: malformed, NUL, or ".."
 * beyond its beginning; -414: too long. */
int path_text(struct str raw, char *out);

/* One character of the path at *i, decoded, which moves on; or -1: it must not be there. */
int path_next_char(struct str raw, size_t *i);

#endif
