/* What the internal listener answers: from a request's head to the whole response. Pure but for the pages of
 * the pool; any thread. */
#ifndef HTTP_PAGES_INTERNAL_PAGE_H
#define HTTP_PAGES_INTERNAL_PAGE_H

#include "engine/base/buf.h"
#include "engine/base/profile_format.h"
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
/* A profile takes its time: whoever calls gathers what comes through the pipe, and has it written at its end.
 */
struct internal_profile {
    int fd; /* the pipe, the caller's from then on; -1: nothing is asked for */
    enum profile_format format;
    unsigned hz, seconds;
    unsigned last; /* so many seconds of what is kept; 0: what runs now */
};
/* GET /profile?seconds=10&hz=99&pool=NAME&format=folded, or with last=SECONDS. True: profile is filled, or
 * out has the refusal. False: another page is asked for. */
bool internal_page_profile(const struct pool *pool, const struct http_head *head, const char *token,
                           const struct internal_caller *caller, struct internal_profile *profile,
                           struct buf *out);
/* An error if not all of it could be gathered. */
void internal_page_profiled(const struct internal_profile *profile, const struct buf *folded,
                            struct buf *out);
/* The same for what is no request. */
void internal_page_error(int status, struct buf *out);

#endif
