/* What one engine process keeps for its HTTP front end: made in start(), before any other thread exists;
 * read-only afterwards but for the counters and `draining`. */
#ifndef HTTP_NET_FRONT_H
#define HTTP_NET_FRONT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "http/http_settings.h"

enum { LISTENER_PLAIN, LISTENER_TLS, LISTENER_INTERNAL };

struct helper_pool;
struct conn_protocol;
struct http_site;
struct loop;
struct sites;

/* What hangs on each loop and is driven by its clockwork, on its thread. Any of these may be NULL. */
struct loop_part {
    int (*open)(struct loop *loop);   /* the loop is made, before its thread; 0 or -1 */
    void (*turn)(struct loop *loop);  /* at the end of a pass in which messages came or time was looked at */
    void (*sweep)(struct loop *loop); /* four times a second */
    void (*late)(struct loop *loop, uint64_t us); /* in place of a sweep: for so long nobody looked */
    void (*refuse)(struct loop *loop);            /* the server ends: nobody new comes in */
    void (*drain)(struct loop *loop);             /* the process ends soon: no new work */
    bool (*waits)(struct loop *loop);             /* is there anything that sweep looks after? */
    void (*close)(struct loop *loop); /* the loop ends; parts before this one in the list are closed */
};

struct http_front {
    /* -- handed down by http.c -- */
    const struct frontend *frontend;
    const struct loop_part *const *loop_parts; /* in the order in which they are called; NULL at the end */
    const struct request_io *reply_io;         /* how PHP answers a request of ours */
    const struct conn_protocol *h1, *h2;       /* h2: what TLS clients may choose */
    /* -- of the process -- */
    struct pool *pool;
    const struct pool_conf *conf;
    const struct http_settings *settings; /* the listener's: what counts before a site is known */
    struct sites *sites;
    const struct http_site *main_site; /* the listener's own pool's */
    struct conn_limit *per_client;     /* NULL: no limit */
    struct tls_context *tls;           /* NULL: no TLS listener */
    const struct listener *listeners;
    struct helper_pool *helpers;
    struct internal *internal; /* NULL: no internal listener */
    struct loop **loops;
    int loop_count, loops_running; /* loops that were made; that have a thread */
    int64_t max_connections;       /* of the process; what rlimits leave */
    _Atomic int64_t connections;
    _Atomic bool draining;       /* control thread sets it, once */
    _Atomic uint64_t drain_us;   /* when */
    _Atomic int loops_draining;  /* loops that have been told */
    _Atomic int loops_listening; /* loops that accept; the last one closes the descriptors */
    _Atomic int64_t written_off; /* connections whose worker died with their descriptor */
    /* counters for status and metrics */
    _Atomic uint64_t accepted, requests, rejected, floods, timeouts;
};

/* No connection is kept beyond its answer: the process ends soon, or the server does. Any thread. */
static inline bool front_leaves(const struct http_front *front)
{
    return atomic_load_explicit(&front->draining, memory_order_relaxed) || pool_leaving(front->pool);
}

#endif
