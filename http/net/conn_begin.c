/* What comes before a connection's protocol: the limit of its client, the PROXY protocol, the TLS handshake.
 */
#include <errno.h>
#include <sys/socket.h>

#include "engine/base/log.h"
#include "http/net/conn.h"
#include "http/net/limits.h"
#include "http/net/tls.h"

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

/* PROXY protocol: who the client really is. Only looked at until it is complete, and then taken exactly: what
 * follows may be TLS. */
static void take_proxy_header(struct conn *c)
{
    struct sockaddr_storage source;
    bool local = false;
    char *p = c->loop->scratch;
    ssize_t n = recv(c->fd, p, 1024, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        c->readable = errno == EINTR;
        return;
    }
    int used = n > 0 ? proxy_header_parse(p, (size_t)n, &source, &local) : -1;
    if (used < 0 || (used == 0 && n == 1024) || (used > 0 && recv(c->fd, p, (size_t)used, 0) != used)) {
        http_conn_close(c, "no valid PROXY protocol header");
        return;
    }
    if (used == 0) {
        c->readable = false;
        return;
    }
    if (!local) {
        if (c->in_limit) {
            conn_limit_leave(c->loop->front->per_client, &c->peer);
            c->in_limit = false;
        }
        c->peer = source;
        if (!http_conn_admitted(c)) {
            http_conn_close(c, "too many connections of this client");
            return;
        }
    }
    http_conn_begin(c);
}

static void handshake(struct conn *c)
{
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
    if (c->state == CONN_HANDSHAKE && (c->readable || c->writable)) {
        handshake(c);
    }
}
