/* Static files: a loop thread asks for the answer to GET or HEAD of a file, conditional requests, ranges,
 * encodings and caching headers included. Small hot files come from memory; others as a descriptor for
 * sendfile. */
#ifndef HTTP_STATIC_H
#define HTTP_STATIC_H

#include "http/head.h"

struct http_settings;
struct static_files;

struct static_files *static_files_create(const struct http_settings *settings);
void static_files_destroy(struct static_files *s);
/* Fills out (also 304, 405, 412, 416, and 404 when the file is gone meanwhile). If a compressed form has to
 * be made first, the identity form is answered and the helper pool makes the compressed one for the next
 * request. */
void static_answer(struct static_files *s, const struct http_head *head, struct str file, struct arena *arena,
                   struct http_answer *out);

#endif
