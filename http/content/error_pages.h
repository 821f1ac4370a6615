/* Bodies for errors that have none: the administrator's pages (http.error_pages_dir), or our own small ones.
 * Read when an engine process starts, so a reload reads them again. Read-only afterwards: any thread. */
#ifndef HTTP_CONTENT_ERROR_PAGES_H
#define HTTP_CONTENT_ERROR_PAGES_H

#include "http/wire/head.h"

struct error_pages;

/* dir: NULL = none. Files 404.html, 503.html ..., and 4xx.html, 5xx.html for those without a page of their
 * own. What can't be read is logged and left out. NULL: out of memory. */
struct error_pages *error_pages_load(const char *dir);
void error_pages_destroy(struct error_pages *pages);

/* The administrator's page for this status, if there is one and the client accepts HTML; else STR_NONE. For
 * responses of PHP with an empty body. head: NULL when the request could not be read. Lives as long as pages.
 */
struct str error_pages_custom(const struct error_pages *pages, const struct http_head *head, int status);

/* Gives an answer of 400 and above that has no body one, with its Content-Type: the administrator's page,
 * else a plain one. Leaves others alone. The pieces are the arena's; without memory the body stays empty.
 * id: the request's, which is shown where the server is at fault; "" = it has none. */
void error_pages_fill(const struct error_pages *pages, const struct http_head *head, const char *id,
                      struct arena *arena, struct http_answer *out);
/* Our own page, as HTML or as a line of text. id: NULL or "" = none. p == NULL: out of memory. */
struct str error_pages_own(int status, bool html, const char *id, struct arena *arena);

/* Does the client take HTML? No Accept at all means yes. explicit: only if HTML is named, as browsers do. */
bool error_pages_html_accepted(const struct http_head *head, bool explicit);

#endif
