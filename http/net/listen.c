/* Accepting. Every loop of every generation watches the same listening sockets, level-triggered, and takes a
 * few connections a turn: no hand-over between loops, and a loop that is busy simply comes later. (libevent
 * offers no EPOLLEXCLUSIVE, and through a nested set the kernel ignores it; with few loops a useless wake-up
 * costs one accept call.) Out of descriptors, or at http.max_connections, a loop stops looking for a moment
 * instead of spinning; the backlog keeps what waits. */
#include "http/net/listen.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

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

static void on_listener(evutil_socket_t fd, short what, void *ctx)
{
    struct listen *l = ctx;
    struct loop *loop = l->loop;
    struct http_front *front = loop->front;
    (void)what;
    loop->now_us = clock_coarse_us();
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        if (atomic_load_explicit(&front->connections, memory_order_relaxed) >= front->max_connections) {
            log_limited(LEVEL_WARNING, "http: %lld connections are open, more have to wait",
                        (long long)front->max_connections);
            make_room(loop);
            pause_listen(l, 20000);
            break;
        }
        int client;
        struct sockaddr_storage peer;
        enum accept_result result = sock_accept((int)fd, true, &client, &peer);
        if (result == ACCEPT_OK) {
            http_conn_accept(loop, l->listener, client, &peer);
            continue;
        }
        if (result == ACCEPT_NO_DESCRIPTORS) {
            log_limited(LEVEL_ERROR, "http: no descriptor for a new connection; trying again shortly");
            make_room(loop);
            pause_listen(l, 100000);
        } else if (result == ACCEPT_BROKEN) {
            log_limited(LEVEL_ERROR, "http: cannot accept on %s", l->listener->address.text);
            pause_listen(l, 1000000);
        }
        break;
    }
    http_conn_free_dead(loop);
}

static int open_listeners(struct loop *loop)
{
    for (const struct listener *listener = loop->front->listeners; listener; listener = listener->next) {
        if (listener->frontend != loop->front->frontend || listener->pool != loop->front->conf ||
            listener->fd < 0 || listener->kind > LISTENER_TLS) {
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

static void close_listeners(struct loop *loop)
{
    while (loop->listens) {
        struct listen *l = loop->listens;
        loop->listens = l->next;
        if (l->event) {
            event_free(l->event);
        }
        free(l);
    }
}

static void sweep(struct loop *loop)
{
    for (struct listen *l = loop->listens; l; l = l->next) {
        if (l->paused && loop->now_us >= l->resume_us) {
            l->paused = event_add(l->event, NULL) != 0;
        }
    }
}

const struct loop_part listen_loop_part = {
    .open = open_listeners, .sweep = sweep, .drain = close_listeners, .close = close_listeners};
