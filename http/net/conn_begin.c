/* What comes before a connection's protocol: the limit of its client, the PROXY protocol, the TLS handshake.
 */
#include <errno.h>
#include <sys/socket.h>

#include "engine/base/log.h"
#include "http/net/conn.h"
#include "http/net/limits.h"
#include "http/net/tls.h"

#define PROXY_LOOK 256 /* the longest line of version 1, the addresses of version 2 */

bool http_conn_admitted(struct conn *c)
{
    if (!c->loop->front->per_client || c->peer.ss_family == AF_UNIX) {
        return true;
    }
    c->in_limit = conn_limit_enter(c->loop->front->per_client, &c->peer);
    if (!c->in_limit) {
        char ip[64];
        sock_ip(&c->peer, ip, sizeof ip);
        log_limited(LEVEL_WARNING, "http: %s has http.connections_per_client connections, refused one", ip);
    }
    return c->in_limit;
}

static void start(struct conn *c, const struct conn_protocol *protocol)
{
    if (protocol->start(c) != 0) {
        http_conn_close(c, "out of memory");
    }
}

void http_conn_begin(struct conn *c)
{
    if (c->loop->front->settings->proxy_protocol && c->state == CONN_CLOSED) {
        c->state = CONN_PROXY;
        c->deadline_us = c->loop->now_us + SECONDS(c->loop->front->settings->header_timeout);
    } else if (c->tls_wanted) {
        c->state = CONN_HANDSHAKE;
        c->deadline_us = c->loop->now_us + SECONDS(c->loop->front->settings->handshake_timeout);
    } else {
        start(c, c->loop->front->h1);
    }
}

/* Takes what is left of the PROXY protocol's header, and not a byte more: what follows may be TLS. True: it
 * is complete. */
static bool skip_proxy_header(struct conn *c)
{
    while (c->proxy_left > 0) {
        size_t most = c->proxy_left < LOOP_SCRATCH ? c->proxy_left : LOOP_SCRATCH;
        ssize_t n = recv(c->fd, c->loop->scratch, most, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            c->readable = false;
            return false;
        }
        if (n <= 0) {
            http_conn_close(c, "no complete PROXY protocol header");
            return false;
        }
        c->proxy_left -= (size_t)n;
    }
    return true;
}

/* Who the client really is. Only looked at until that is known. False: not yet, or the connection is closed.
 */
static bool read_proxy_header(struct conn *c)
{
    struct sockaddr_storage source;
    bool local = false;
    char *p = c->loop->scratch;
    ssize_t n = recv(c->fd, p, PROXY_LOOK, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        c->readable = errno == EINTR;
        return false;
    }
    int used = n > 0 ? proxy_header_parse(p, (size_t)n, &source, &local) : -1;
    if (used < 0) {
        http_conn_close(c, "no valid PROXY protocol header");
    } else if (used == 0) {
        c->readable = false;
    } else {
        c->proxy_left = (size_t)used;
    }
    if (used > 0 && !local) {
        c->peer = source;
        if (!http_conn_admitted(c)) {
            http_conn_close(c, "too many connections of this client");
            return false;
        }
    }
    return used > 0;
}

static void take_proxy_header(struct conn *c)
{
    if ((c->proxy_left > 0 || read_proxy_header(c)) && skip_proxy_header(c)) {
        http_conn_begin(c);
    }
}

/* The client's first byte. One that speaks HTTP where TLS is spoken gets an answer that it understands.
 * False: it has said nothing yet. */
static bool look_at_first_byte(struct conn *c)
{
    char first = 0;
    ssize_t n = recv(c->fd, &first, 1, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        c->readable = errno == EINTR;
        return false;
    }
    c->plain_on_tls = n == 1 && first >= 'A' && first <= 'Z';
    return true;
}

static void handshake(struct conn *c)
{
    if (!c->tls && !look_at_first_byte(c)) {
        return;
    }
    if (c->plain_on_tls) {
        start(c, c->loop->front->h1);
        return;
    }
    if (!c->tls) {
        c->tls_us = clock_us();
        c->tls = tls_conn_create(c->loop->front->tls, c->fd);
        if (!c->tls) {
            http_conn_close(c, "out of memory");
            return;
        }
    }
    switch (tls_handshake(c->tls)) {
    case TLS_DONE:
        c->tls_us = clock_us() - c->tls_us;
        c->readable = c->writable = true;
        pool_count_event(c->loop->front->pool, EVENT_TLS_HANDSHAKE);
        start(c, tls_is_h2(c->tls) ? c->loop->front->h2 : c->loop->front->h1);
        break;
    case TLS_WANT_READ: c->readable = false; break;
    case TLS_WANT_WRITE: c->writable = false; break;
    case TLS_FAILED: http_conn_close(c, "TLS handshake failed"); break;
    }
}

void http_conn_greet(struct conn *c)
{
    if (c->state == CONN_PROXY && c->readable) {
        take_proxy_header(c);
    }
    if (c->state == CONN_HANDSHAKE && (c->readable || (c->tls && c->writable))) {
        handshake(c);
    }
}
