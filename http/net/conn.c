/* A client's connection: its life from accept to close, its events and deadlines. Loop thread only.
 *
 * One edge-triggered event for reading and writing is added once and never changed, so a request costs no
 * epoll_ctl. `readable` and `writable` remember what the last edge said until the kernel says "none now". */
#include "http/net/conn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/net/limits.h"
#include "http/net/tls.h"

/* After an answer that came before all of the request: a client that is still sending reads it when it has
 * sent, or when it looks up; a reset would take it away. */
#define LINGER_US       (30 * CLOCK_US_PER_SECOND)
#define LINGER_QUIET_US (5 * CLOCK_US_PER_SECOND) /* nothing came for so long: it has stopped */
#define LINGER_DRAIN_US (1 * CLOCK_US_PER_SECOND)
#define LINGER_BYTES    (1ull << 30)

/* -- the polite end -- */

void http_conn_linger(struct conn *c)
{
    if (c->eof) {
        http_conn_close(c, "done");
        return;
    }
    c->protocol->leave(c);
    if (c->tls) {
        tls_shutdown(c->tls);
    }
    shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    c->linger_left = LINGER_BYTES;
    bool drains = atomic_load_explicit(&c->loop->front->draining, memory_order_relaxed);
    c->deadline_us = c->loop->now_us + (drains ? LINGER_DRAIN_US : LINGER_US);
    c->progress_us = c->loop->now_us;
    http_conn_pump(c);
}

/* -- life -- */

void http_conn_become(struct conn *c, const struct conn_protocol *protocol)
{
    c->protocol = protocol;
    c->state = CONN_OPEN;
}

void http_conn_resume(struct conn *c)
{
    http_conn_greet(c);
    if (c->state == CONN_OPEN && !c->closing) {
        c->protocol->output(c);
    }
    http_conn_pump(c);
}

static void on_event(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    struct loop *loop = c->loop;
    (void)fd;
    MUST(c->magic == CONN_MAGIC);
    loop->now_us = clock_coarse_us();
    if (what & EV_CLOSED) {
        c->peer_closing = true;
        c->readable = true;
    }
    if (what & EV_READ) {
        c->readable = true;
    }
    if (what & EV_WRITE) {
        c->writable = true;
    }
    http_conn_resume(c);
    http_conn_free_dead(loop);
}

void http_conn_accept(struct loop *loop, const struct listener *listener, int fd,
                      const struct sockaddr_storage *peer)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    *c = (struct conn){.magic = CONN_MAGIC,
                       .state = CONN_CLOSED,
                       .fd = fd,
                       .loop = loop,
                       .listener = listener,
                       .peer = *peer,
                       .tls_wanted = listener->kind == LISTENER_TLS,
                       .accepted_us = loop->now_us,
                       .idle_since_us = loop->now_us,
                       .writable = true};
    event_assign(&c->event, loop->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, c);
    /* Who speaks the PROXY protocol is the balancer, which is nobody's client: it says who is. */
    bool admitted = loop->front->settings->proxy_protocol || http_conn_admitted(c);
    if (!admitted || event_add(&c->event, NULL) != 0) {
        if (c->in_limit) {
            conn_limit_leave(loop->front->per_client, &c->peer);
        }
        close(fd);
        free(c);
        return;
    }
    c->next = loop->conns;
    if (c->next) {
        c->next->prev = c;
    }
    loop->conns = c;
    atomic_fetch_add_explicit(&loop->front->connections, 1, memory_order_relaxed);
    pool_count_connection(loop->front->pool, 1);
    atomic_fetch_add_explicit(&loop->front->accepted, 1, memory_order_relaxed);
    http_conn_begin(c);
}

static void sweep_conn(struct conn *c)
{
    uint64_t now = c->loop->now_us;
    if (c->state == CONN_OPEN && !c->closing) {
        c->protocol->sweep(c);
    } else if (c->state == CONN_LINGER && now - c->progress_us > LINGER_QUIET_US) {
        http_conn_close(c, "done, and the client is silent");
    } else if (c->deadline_us && now >= c->deadline_us && c->state != CONN_CLOSED) {
        if (c->state != CONN_LINGER) {
            atomic_fetch_add_explicit(&c->loop->front->timeouts, 1, memory_order_relaxed);
        }
        http_conn_close(c, "too slow to begin");
    }
}

static void drain_conn(struct conn *c)
{
    if (c->state == CONN_OPEN && !c->closing) {
        c->protocol->drain(c);
    } else if (c->state == CONN_LINGER && c->deadline_us > c->loop->now_us + LINGER_DRAIN_US) {
        c->deadline_us = c->loop->now_us + LINGER_DRAIN_US;
    }
}

void http_conn_local(struct conn *c)
{
    if (c->local_ip[0]) {
        return;
    }
    struct sockaddr_storage local = {0};
    socklen_t n = sizeof local;
    memcpy(c->local_ip, "-", 2);
    if (getsockname(c->fd, (struct sockaddr *)&local, &n) == 0) {
        sock_ip(&local, c->local_ip, sizeof c->local_ip);
        c->local_port = sock_port(&local);
    }
}

/* -- all of a loop -- */

static void for_each(struct loop *loop, void (*fn)(struct conn *c))
{
    for (struct conn *c = loop->conns, *next; c; c = next) {
        next = c->next;
        fn(c);
    }
}

static void turn(struct loop *loop)
{
    struct conn *list = loop->again;
    loop->again = NULL;
    while (list) {
        struct conn *c = list;
        list = c->next_again;
        c->in_again = false;
        http_conn_resume(c);
    }
    http_conn_free_dead(loop);
}

static void sweep(struct loop *loop)
{
    for_each(loop, sweep_conn);
}

static void late(struct loop *loop, uint64_t us)
{
    for (struct conn *c = loop->conns; c; c = c->next) {
        c->deadline_us += c->deadline_us ? us : 0;
    }
}

static void drain(struct loop *loop)
{
    for_each(loop, drain_conn);
}

static void close_conn(struct conn *c)
{
    http_conn_close(c, "the process ends");
}

static void close_all(struct loop *loop)
{
    for_each(loop, close_conn);
    http_conn_free_dead(loop);
}

static bool waits(struct loop *loop)
{
    return loop->conns || loop->dead || loop->again;
}

const struct loop_part conn_loop_part = {
    .turn = turn, .sweep = sweep, .late = late, .drain = drain, .waits = waits, .close = close_all};
