/* Static files: a loop thread asks for the answer to GET or HEAD of a file, conditional requests, ranges,
 * encodings and caching headers included. Small hot files come from memory; others as a descriptor for
 * sendfile. */
#ifndef HTTP_CONTENT_STATIC_H
#define HTTP_CONTENT_STATIC_H

#include "http/wire/head.h"

struct helper_pool;
struct http_settings;
struct static_files;

/* helpers: whose threads make compressed forms. NULL: out of memory. */
struct static_files *static_files_create(const struct http_settings *settings, struct helper_pool *helpers);
/* After every answer was released, and after helper_pool_stop(). */
void static_files_destroy(struct static_files *s);
/* What a script says of a file that it names (X-Accel-Redirect): its own fields are not ours to add to. */
struct static_said {
    struct str type, etag; /* STR_NONE: the file's */
    int64_t modified;      /* Last-Modified in seconds; -1: the file's */
    bool as_it_is;         /* it has a coding already, or may not be given one */
    bool varies;           /* its Vary names Accept-Encoding */
};

/* Fills out (also 304, 412, 416, and 403 or 404 when the file can't be had meanwhile). If a compressed
 * form has to be made first, the identity form is answered and a helper thread makes the compressed one for
 * the next request. The fields leave out Content-Length (body_n says it), Date and Server. Answers of 400 and
 * above have no body: error_pages.h gives them one. A field's text lives until release. A descriptor among
 * the pieces is shared with other answers: read it by offset only (sendfile with an offset, pread). The file
 * may have become shorter since: when it ends before n bytes, cut the connection (h1) or reset the stream
 * (h2), because the length has been announced. said: NULL = nobody but us has anything to say of it, and the
 * method is GET or HEAD; else it is any, and how long the answer may be kept, and by whom, is left to the
 * script. */
void static_answer(struct static_files *s, const struct http_head *head, struct str file,
                   const struct static_said *said, struct arena *arena, struct http_answer *out);

#endif
