/* Connections of the FastCGI client. See upstream_private.h.
 *
 * A connection has one request at a time, and is kept for the next one if the other side takes that; then any
 * event on it means that the other side has closed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/high_fd.h"
#include "engine/base/log.h"
#include "http/upstream/upstream_private.h"

#define CONNECT_US (5 * CLOCK_US_PER_SECOND)
#define IDLE_US    (30 * CLOCK_US_PER_SECOND)
#define IDLE_MAX   32 /* kept connections of a loop and target */

void upstream_conn_close(struct upstream *u)
{
    if (u->prev) {
        u->prev->next = u->next;
    } else {
        u->loop->upstreams = u->next;
    }
    if (u->next) {
        u->next->prev = u->prev;
    }
    event_del(&u->event);
    event_del(&u->pause);
    close(u->fd);
    buf_free(&u->out);
    buf_free(&u->head);
    free(u);
}

void upstream_conn_keep(struct upstream *u)
{
    unsigned idle = 0;
    for (const struct upstream *o = u->loop->upstreams; o; o = o->next) {
        idle += o->state == UPSTREAM_IDLE && o->target == u->target;
    }
    if (!u->target->keep_alive || idle >= IDLE_MAX || !u->body_sent || u->out_at < u->out.n || u->excess ||
        atomic_load_explicit(&u->loop->front->draining, memory_order_relaxed)) {
        upstream_conn_close(u);
        return;
    }
    event_del(&u->pause);
    buf_free(&u->out);
    buf_free(&u->head);
    u->state = UPSTREAM_IDLE;
    u->reused = true;
    u->deadline_us = u->loop->now_us + IDLE_US;
}

int upstream_conn_connected(struct upstream *u)
{
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0) {
        return errno;
    }
    return error;
}

static struct upstream *find_idle(struct loop *loop, const struct upstream_target *target)
{
    for (struct upstream *u = loop->upstreams; u; u = u->next) {
        if (u->state == UPSTREAM_IDLE && u->target == target) {
            return u;
        }
    }
    return NULL;
}

static int start_connect(struct upstream *u, const struct upstream_events *events)
{
    const struct sock_address *to = &u->target->address;
    u->fd = high_fd(socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (u->fd < 0 ||
        (connect(u->fd, (const struct sockaddr *)&to->sa, to->len) != 0 && errno != EINPROGRESS)) {
        return -1;
    }
    event_assign(&u->event, u->loop->base, u->fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST,
                 events->ready, u);
    event_assign(&u->pause, u->loop->base, -1, 0, events->pause, u);
    return event_add(&u->event, NULL);
}

static struct upstream *open_new(struct loop *loop, struct upstream_target *target,
                                 const struct upstream_events *events)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (u) {
        *u = (struct upstream){.loop = loop, .target = target, .fd = -1, .state = UPSTREAM_CONNECTING};
    }
    if (!u || start_connect(u, events) != 0) {
        int saved = errno;
        log_limited(LEVEL_WARNING, "http: cannot connect to %s: %s", target->name, strerror(saved));
        if (u && u->fd >= 0) {
            close(u->fd);
        }
        free(u);
        errno = saved;
        return NULL;
    }
    u->next = loop->upstreams;
    if (u->next) {
        u->next->prev = u;
    }
    loop->upstreams = u;
    u->deadline_us = loop->now_us + CONNECT_US;
    return u;
}

struct upstream *upstream_conn_get(struct loop *loop, struct upstream_target *target, bool fresh,
                                   const struct upstream_events *events)
{
    struct upstream *u = fresh ? NULL : find_idle(loop, target);
    if (!u) {
        return open_new(loop, target, events);
    }
    u->state = UPSTREAM_RUNNING;
    u->deadline_us = loop->now_us + target->wait_us;
    return u;
}
