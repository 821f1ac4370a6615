/* What the internal listener answers: from a request's head to the whole response. Pure but for the pages of
 * the pool; any thread. */
#ifndef HTTP_PAGES_INTERNAL_PAGE_H
#define HTTP_PAGES_INTERNAL_PAGE_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "http/wire/head.h"

/* Appends head and body. token: NULL or empty = everybody who can connect may look; then `local_names_only`
 * says that the address is one of this machine, and a request for another host's name is refused: it comes
 * from a web page that has pointed its own name at us. */
void internal_page(const struct pool *pool, const struct http_head *head, const char *token,
                   bool local_names_only, struct buf *out);
/* The same for what is no request. */
void internal_page_error(int status, struct buf *out);

#endif
