/* What the internal listener answers: from a request's head to the whole response. Pure but for the pages of
 * the pool; any thread. */
#ifndef HTTP_PAGES_INTERNAL_PAGE_H
#define HTTP_PAGES_INTERNAL_PAGE_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "http/wire/head.h"

/* Who asks. */
struct internal_caller {
    bool here;       /* from this machine: by a loopback address or a unix socket */
    bool by_address; /* by an address that only this machine reaches. A request for another host's name is
                        then refused: it comes from a web page that has pointed its own name at us */
};

/* Appends head and body. /health, its kin and /metrics are for everybody who can connect, as orchestrators
 * and Prometheus ask for them. All else tells more: it needs the token, or without one (NULL or empty) a
 * caller on this machine. */
void internal_page(const struct pool *pool, const struct http_head *head, const char *token,
                   const struct internal_caller *caller, struct buf *out);
/* The same for what is no request. */
void internal_page_error(int status, struct buf *out);

#endif
