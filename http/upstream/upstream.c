/* The FastCGI client: a request from its start to its end. See the header. Loop thread only.
 *
 * A request that may be repeated without harm is sent again, once, when a kept connection turns out to be
 * closed; others never use a kept connection. */
#include "http/upstream/upstream.h"

#include <errno.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/answer/relay.h"
#include "http/upstream/upstream_private.h"

/* -- the beginning -- */

/* May this be sent twice? Only what changes nothing. */
static bool is_repeatable(const struct exchange *x)
{
    const char *method = x->request.method;
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

static const struct delivery_runner runner;
static const struct upstream_events events;

/* The exchange goes on without this connection. */
static struct exchange *detach(struct upstream *u)
{
    struct exchange *x = u->x;
    u->x = NULL;
    x->delivery.upstream = NULL;
    x->request.times.answered = clock_us();
    atomic_fetch_sub_explicit(&u->target->active, 1, memory_order_relaxed);
    return x;
}

/* 0, or the status to answer. fresh: not on a kept connection. */
static int start(struct exchange *x, bool fresh)
{
    struct upstream *u = upstream_conn_get(x->loop, x->http.target, fresh || !is_repeatable(x), &events);
    if (!u) {
        return errno == EAGAIN ? 503 : 502; /* EAGAIN: its backlog is full */
    }
    u->x = x;
    x->delivery.upstream = u;
    x->delivery.runner = &runner;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&x->http.target->active, 1, memory_order_relaxed);
    upstream_answer_begin(u);
    if (upstream_request_begin(u) != 0) {
        detach(u);
        upstream_conn_close(u);
        exchange_drop(x);
        return 503;
    }
    if (u->state == UPSTREAM_RUNNING) {
        event_active(&u->event, EV_WRITE, 0); /* not here: the caller is not ready for an answer yet */
    }
    return 0;
}

int upstream_submit(struct exchange *x)
{
    struct upstream_target *target = x->http.target;
    if (atomic_load_explicit(&target->active, memory_order_relaxed) >= target->capacity) {
        log_limited(LEVEL_WARNING, "http: %s has %lld requests already, one was answered with 503",
                    target->name, (long long)target->capacity);
        return 503;
    }
    x->request.upstream = target->name;
    x->request.times.asked = clock_us();
    return start(x, false);
}

/* -- the end -- */

static void fail(struct upstream *u, int status, const char *why)
{
    struct exchange *x = detach(u);
    bool again = u->reused && !u->heard && status == 502 && is_repeatable(x);
    const char *name = u->target->name;
    upstream_conn_close(u);
    if (again && start(x, true) == 0) {
        exchange_drop(x); /* start() took its own */
        return;
    }
    log_limited(LEVEL_WARNING, "http: %s: %s, a request was answered with %d", name, why, status);
    relay_abandon(x, status);
}

static void complete(struct upstream *u)
{
    if (u->status != 0 || !u->head_done) {
        /* 2: overloaded (FastCGI 1.0, 5.5) */
        fail(u, u->status == 2 ? 503 : 502, u->status ? "it refused the request" : "it gave no response");
        return;
    }
    struct exchange *x = detach(u);
    upstream_conn_keep(u);
    relay_finish(x);
}

static void abort_request(struct exchange *x)
{
    struct upstream *u = x->delivery.upstream;
    detach(u);
    upstream_conn_close(u); /* which is how the other side hears of it */
    relay_abandon(x, 499);
}

/* -- events -- */

/* Moves on as far as it goes. u may be gone afterwards. */
static void progress(struct upstream *u)
{
    const char *why = NULL;
    if (u->state == UPSTREAM_CONNECTING && u->writable) {
        int error = upstream_conn_connected(u);
        if (error) {
            fail(u, 502, strerror(error));
            return;
        }
        u->state = UPSTREAM_RUNNING;
        u->deadline_us = u->loop->now_us + u->target->wait_us;
    }
    if (u->state != UPSTREAM_RUNNING) {
        return;
    }
    /* A server may answer without reading the whole body: what it said counts, not that it stopped. */
    if (upstream_request_send(u) != 0) {
        u->writable = false;
        if (!u->readable) {
            fail(u, 502, "it closed the connection");
            return;
        }
    }
    switch (upstream_answer_read(u, &why)) {
    case HEARD_PART: break;
    case HEARD_END: complete(u); break;
    case HEARD_BAD: fail(u, 502, why); break;
    }
}

static void on_ready(evutil_socket_t fd, short what, void *upstream)
{
    struct upstream *u = upstream;
    (void)fd;
    u->loop->now_us = clock_coarse_us();
    u->readable |= (what & (EV_READ | EV_CLOSED)) != 0;
    u->writable |= (what & EV_WRITE) != 0;
    if (u->state != UPSTREAM_IDLE) {
        progress(u);
    } else if (what & (EV_READ | EV_CLOSED)) {
        upstream_conn_close(u);
    }
}

static void on_pause(evutil_socket_t fd, short what, void *upstream)
{
    struct upstream *u = upstream;
    (void)fd;
    (void)what;
    u->unflushed = false;
    if (!u->x->request.head_counts || u->x->reply.streaming) { /* else its end says how long it would be */
        relay_flush(u->x);
    }
}

static const struct upstream_events events = {.ready = on_ready, .pause = on_pause};

static void resume_request(struct exchange *x)
{
    if (x->delivery.upstream->paused) {
        x->delivery.upstream->paused = false;
        x->delivery.upstream->deadline_us = x->loop->now_us + x->delivery.upstream->target->wait_us;
        event_active(&x->delivery.upstream->event, EV_TIMEOUT, 0); /* after whoever is sending now */
    }
}

static const struct delivery_runner runner = {.abort = abort_request, .resume = resume_request};

/* -- time -- */

static bool streams_too_long(const struct upstream *u)
{
    uint64_t limit = (uint64_t)u->x->http.site->settings->stream_timeout * CLOCK_US_PER_SECOND;
    return limit && u->head_done && u->loop->now_us > u->head_us && u->loop->now_us - u->head_us > limit;
}

static void sweep(struct upstream *u)
{
    if (u->state == UPSTREAM_IDLE) {
        if (u->loop->now_us >= u->deadline_us) {
            upstream_conn_close(u);
        }
    } else if (streams_too_long(u)) {
        fail(u, 504, "its response streamed for too long");
    } else if (!u->paused && u->loop->now_us >= u->deadline_us) {
        atomic_fetch_add_explicit(&u->loop->front->timeouts, 1, memory_order_relaxed);
        fail(u, 504, u->state == UPSTREAM_CONNECTING ? "no connection in time" : "no response in time");
    }
}

static void sweep_all(struct loop *loop)
{
    for (struct upstream *u = loop->upstreams, *next; u; u = next) {
        next = u->next;
        sweep(u); /* ends at most u itself; a new one is put in front */
    }
}

static void close_all(struct loop *loop)
{
    while (loop->upstreams) {
        struct upstream *u = loop->upstreams;
        if (u->x) {
            abort_request(u->x);
        } else {
            upstream_conn_close(u);
        }
    }
}

static bool waits(struct loop *loop)
{
    return loop->upstreams != NULL;
}

const struct loop_part upstream_loop_part = {.sweep = sweep_all, .waits = waits, .close = close_all};
