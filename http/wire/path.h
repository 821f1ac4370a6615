/* The path of a request as text, in two readings. What is looked up as a file is judged (path_name): decoded
 * once, cleaned, refused where it could mean two things. What only an application reads is decoded as other
 * web servers do (path_text). Pure functions; any thread. */
#ifndef HTTP_WIRE_PATH_H
#define HTTP_WIRE_PATH_H

#include "engine/base/buf.h"
#include "engine/base/path_text.h"

/* Asked at each slash: is what was read so far (NUL-terminated, n bytes) the name of a script, so that the
 * rest is its business? */
struct path_script {
    bool (*is_here)(void *ctx, const char *path, size_t n);
    void *ctx;
    struct str rest; /* out: as it came, from its slash on; STR_NONE: there was none */
    bool unnameable; /* out, beside -400: it is a sound path, but no file here has such a name (backslash,
                        encoded slash, overlong UTF-8), and nothing in it climbs by such a slash */
};

/* The name of a file, decoded, in out (PATH_TEXT_MAX + 1 bytes, NUL-terminated), with empty and "." segments
 * dropped. Gives its length; or minus the status to answer: 400 (malformed, "..", NUL, or unnameable), 403 (a
 * hidden file, except below /.well-known; out has its name) or 414. script may be NULL. */
int path_name(struct str raw, char *out, struct path_script *script);

/* Percent-encodes what may not stand in a Location's path. Gives the length, or 0 when it does not fit. */
size_t path_encode(struct str path, char *out, size_t size);

#endif
