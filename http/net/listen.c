/* Accepting. Every loop of every generation watches the same listening sockets, level-triggered, and takes a
 * few connections a turn: no hand-over between loops, and a loop that is busy simply comes later. (libevent
 * offers no EPOLLEXCLUSIVE, and through a nested set the kernel ignores it; with few loops a useless wake-up
 * costs one accept call.) Out of descriptors, or at http.max_connections, a loop stops looking for a moment
 * instead of spinning; the backlog keeps what waits. */
#include "http/net/listen.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/net/conn.h"
#include "http/net/loop.h"

#define ACCEPTS_A_TURN 16

struct listen {
    struct listen *next;
    struct loop *loop;
    const struct listener *listener;
    struct event *event;
    bool paused;
    uint64_t resume_us;
};

static void pause_listen(struct listen *l, uint64_t us)
{
    event_del(l->event);
    l->paused = true;
    l->resume_us = l->loop->now_us + us;
}

/* At the limit the connection that has been idle longest makes room: it holds nothing that matters. */
static void make_room(struct loop *loop)
{
    struct conn *oldest = NULL;
    for (struct conn *c = loop->conns; c; c = c->next) {
        bool idle = c->state == CONN_OPEN && c->protocol->idle(c);
        if (idle && (!oldest || c->idle_since_us < oldest->idle_since_us)) {
            oldest = c;
        }
    }
    if (oldest && http_conn_silent(oldest)) {
        http_conn_close(oldest, "idle, and others wait");
    }
}

/* At most so many. False: there is no room for who waits. */
static bool accept_some(struct listen *l, int most)
{
    struct loop *loop = l->loop;
    struct http_front *front = loop->front;
    for (int i = 0; i < most; i++) {
        if (atomic_load_explicit(&front->connections, memory_order_relaxed) >= front->max_connections) {
            log_limited(LEVEL_WARNING, "http: %lld connections are open, more have to wait",
                        (long long)front->max_connections);
            make_room(loop);
            pause_listen(l, 20000);
            return false;
        }
        int client;
        struct sockaddr_storage peer;
        switch (sock_accept(l->listener->fd, true, &client, &peer)) {
        case ACCEPT_OK: http_conn_accept(loop, l->listener, client, &peer); break;
        case ACCEPT_EMPTY: return true;
        case ACCEPT_NO_DESCRIPTORS:
            log_limited(LEVEL_ERROR, "http: no descriptor for a new connection; trying again shortly");
            make_room(loop);
            pause_listen(l, 100000);
            return false;
        case ACCEPT_BROKEN:
            log_limited(LEVEL_ERROR, "http: cannot accept on %s", l->listener->address.text);
            pause_listen(l, 1000000);
            return true;
        }
    }
    return true;
}

static void on_listener(evutil_socket_t fd, short what, void *ctx)
{
    struct listen *l = ctx;
    (void)fd;
    (void)what;
    l->loop->now_us = clock_coarse_us();
    loop_stir(l->loop);
    accept_some(l, ACCEPTS_A_TURN);
    http_conn_free_dead(l->loop);
}

static bool is_ours(const struct http_front *front, const struct listener *listener)
{
    return listener->frontend == front->frontend && listener->pool == front->conf && listener->fd >= 0 &&
           listener->kind <= LISTENER_TLS;
}

static int open_listeners(struct loop *loop)
{
    for (const struct listener *listener = loop->front->listeners; listener; listener = listener->next) {
        if (!is_ours(loop->front, listener)) {
            continue;
        }
        int one = 1; /* inherited by what is accepted */
        setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct listen *l = calloc(1, sizeof *l);
        if (!l) {
            return -1;
        }
        l->loop = loop;
        l->listener = listener;
        l->event = event_new(loop->base, listener->fd, EV_READ | EV_PERSIST, on_listener, l);
        l->next = loop->listens;
        loop->listens = l;
        if (!l->event || event_add(l->event, NULL) != 0) {
            return -1;
        }
    }
    return 0;
}

static void drop(struct listen **link)
{
    struct listen *l = *link;
    *link = l->next;
    if (l->event) {
        event_free(l->event);
    }
    free(l);
}

/* No loop looks at them any more. */
static void close_descriptors(const struct http_front *front)
{
    for (const struct listener *listener = front->listeners; listener; listener = listener->next) {
        if (is_ours(front, listener)) {
            close(listener->fd);
        }
    }
}

static int backlog(const struct listener *listener)
{
    return listener->options.backlog < 0 ? SOMAXCONN : listener->options.backlog;
}

/* Where nobody comes after us, who waits is taken in before; called again while there is no room for him. */
static void leave(struct loop *loop)
{
    loop->leaves = true;
    for (struct listen **link = &loop->listens; *link;) {
        bool takes = pool_finishing(loop->front->pool);
        if (!takes || accept_some(*link, backlog((*link)->listener))) {
            drop(link);
        } else {
            link = &(*link)->next;
        }
    }
    if (!loop->listens && !loop->left) {
        loop->left = true;
        if (atomic_fetch_sub(&loop->front->loops_listening, 1) == 1) {
            close_descriptors(loop->front);
        }
    }
}

static void close_listeners(struct loop *loop)
{
    while (loop->listens) {
        drop(&loop->listens);
    }
}

static void sweep(struct loop *loop)
{
    if (loop->leaves) {
        leave(loop);
        return;
    }
    for (struct listen *l = loop->listens; l; l = l->next) {
        if (l->paused && loop->now_us >= l->resume_us) {
            l->paused = event_add(l->event, NULL) != 0;
        }
    }
}

static bool waits(struct loop *loop)
{
    bool paused = loop->leaves && loop->listens;
    for (const struct listen *l = loop->listens; l; l = l->next) {
        paused = paused || l->paused;
    }
    return paused;
}

const struct loop_part listen_loop_part = {.open = open_listeners,
                                           .sweep = sweep,
                                           .refuse = leave,
                                           .drain = leave,
                                           .waits = waits,
                                           .close = close_listeners};
