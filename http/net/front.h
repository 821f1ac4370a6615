/* What one engine process keeps for its HTTP front end: made in start(), before any other thread exists;
 * read-only afterwards but for the counters and `draining`. */
#ifndef HTTP_NET_FRONT_H
#define HTTP_NET_FRONT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "http/http_settings.h"
#include "http/site/site.h"

enum { LISTENER_PLAIN, LISTENER_TLS, LISTENER_INTERNAL };

struct compress_pool;
struct loop;

struct http_front {
    struct pool *pool;
    const struct pool_conf *conf;
    const struct http_settings *settings;
    struct sites *sites;
    struct cidr_list *trusted;     /* NULL: nobody is */
    struct conn_limit *per_client; /* NULL: no limit */
    struct rate_limit *rate;       /* NULL: no limit */
    struct tls_context *tls;       /* NULL: no TLS listener */
    const struct listener *listeners;
    struct compress_pool *compressors;
    struct internal *internal; /* NULL: no internal listener */
    struct loop **loops;
    int loop_count;
    int64_t max_connections; /* of the process; what rlimits leave */
    _Atomic int64_t connections;
    _Atomic bool draining;       /* control thread sets it, once */
    _Atomic uint64_t drain_us;   /* when */
    _Atomic int loops_draining;  /* loops that have closed their listeners */
    _Atomic int64_t written_off; /* connections whose worker died with their descriptor */
    /* counters for status and metrics */
    _Atomic uint64_t accepted, requests, rejected, floods, timeouts;
};

extern const struct frontend http_frontend;

#endif
