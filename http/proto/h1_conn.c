/* HTTP/1.0 and 1.1 on a connection: heads, bodies, pipelining, keep-alive, answers. Loop thread only.
 *
 * One request at a time: HEAD (-> ASKED) -> BODY -> RUN (with the workers) or SEND (an answer of our own) ->
 * HEAD. Input is not read while a response is made, so a pipelining client waits in its own socket buffer. */
#include <sys/socket.h>

#include "engine/base/must.h"
#include "http/answer/accounting.h"
#include "http/answer/answer.h"
#include "http/proto/h1_private.h"

#define DRAIN_GRACE (1 * CLOCK_US_PER_SECOND)

/* The answer is on its way completely. Whether a client that closed its end has left or only been silent
 * shows when bytes come to it. */
static void drop_exchange(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    c->h1.exchange = NULL;
    if (x) {
        bool refused = c->peer_closing && http_conn_is_reset(c);
        x->delivery.conn = NULL;
        x->delivery.wire = c->sent - c->h1.sent_before;
        x->delivery.refused = refused ? http_conn_unacknowledged(c) : 0;
        accounting_left(x, !refused);
        exchange_drop(x);
    }
}

/* The answer is on its way completely: the next request, or the end. */
static void next_request(struct conn *c)
{
    struct h1_conn *h1 = &c->h1;
    drop_exchange(c);
    h1->in_head = false;
    h1->scanned = 0;
    c->deadline_us = 0;
    c->idle_since_us = c->loop->now_us;
    if (!h1->keep_alive) {
        h1->state = H1_SEND;
        http_conn_linger(c);
        return;
    }
    h1->state = H1_HEAD;
}

static bool h1_wants(struct conn *c)
{
    return c->h1.state == H1_HEAD || c->h1.state == H1_BODY;
}

static bool h1_expects(const struct conn *c)
{
    return c->h1.in_head || c->h1.state == H1_BODY;
}

static size_t h1_input(struct conn *c, const char *p, size_t n)
{
    size_t used = 0;
    while (used < n && c->state == CONN_OPEN && c->protocol == &h1_protocol && h1_wants(c)) {
        size_t took = h1_request_take(c, p + used, n - used);
        used += took;
        if (c->out.first && c->state == CONN_OPEN && http_conn_send(c) != 0) {
            break;
        }
        if (c->state == CONN_OPEN && c->protocol == &h1_protocol && c->h1.state == H1_SEND && !c->out.first) {
            next_request(c);
        }
        if (took == 0) {
            break;
        }
    }
    return used;
}

/* -- while it runs -- */

/* Does the worker still have the descriptor? It may have come back quietly. */
static bool h1_lent(const struct conn *c)
{
    const struct exchange *x = c->h1.exchange;
    if (!x || x->handover.fd < 0 || x->delivery.out_end) {
        return false;
    }
    return atomic_load_explicit(&x->handover.lend, memory_order_acquire) != LEND_LOOP;
}

static bool came_back_quietly(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    return c->h1.state == H1_RUN && x->handover.fd >= 0 && !x->delivery.out_end && !h1_lent(c);
}

static void settle(struct conn *c)
{
    uint64_t returned = c->h1.exchange->handover.returned_us;
    next_request(c);
    c->idle_since_us = returned;
}

/* Something happened on a connection while its request is with the workers. One look at `lend` decides,
 * because it changes under us: either the worker still has the descriptor, and tells us when it is done, or
 * it is ours and what happened is seen to now. Two looks could each see the half that asks for nothing. */
static void look_after_run(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    int was = LEND_WORKER;
    if (x->handover.fd < 0 || x->delivery.out_end) {
        if (c->peer_closing && http_conn_is_reset(c)) {
            http_conn_close(c, "reset by the client");
        }
    } else if (!atomic_compare_exchange_strong(&x->handover.lend, &was, LEND_NOTIFY) && was == LEND_LOOP) {
        settle(c);
    } else if (http_conn_is_reset(c)) {
        delivery_abort(x);
    }
}

static void h1_output(struct conn *c)
{
    if (c->h1.state == H1_RUN) {
        look_after_run(c);
    }
    if (c->state != CONN_OPEN || h1_lent(c) || !c->out.first) {
        return;
    }
    if (http_conn_send(c) == 0 && !c->out.first && c->h1.state == H1_SEND) {
        next_request(c);
    }
}

static void take_news(struct conn *c, struct exchange *x)
{
    if (c->h1.exchange != x) {
        return;
    }
    if (!c->out.first) { /* until now the worker wrote; from here on the client's patience is measured */
        c->progress_us = c->loop->now_us;
    }
    while (x->delivery.out.first) {
        struct chunk *chunk = x->delivery.out.first;
        x->delivery.out.first = chunk->next;
        chunk_add(&c->out, chunk);
    }
    x->delivery.out = (struct chunk_queue){0};
    if (x->delivery.out_end) {
        if (c->closing || x->delivery.out_cut) {
            c->closing = false;
            http_conn_close(c, "the response broke off");
            return;
        }
        c->h1.keep_alive = c->h1.keep_alive && !x->delivery.close;
        c->h1.state = H1_SEND;
        if (x->reply.file) {
            answer_script_file(x);
            h1_answer_send(c, x);
        }
    }
    if (c->state == CONN_OPEN && http_conn_send(c) == 0 && x->delivery.out_end && !c->out.first) {
        next_request(c);
    }
    http_conn_pump(c);
}

static void take_back(struct conn *c, struct exchange *x)
{
    if (c->h1.exchange != x || !came_back_quietly(c)) {
        return;
    }
    if (c->h1.keep_alive) {
        settle(c);
    } else {
        loop_again(c->loop, c); /* it ends, which may read */
    }
}

static void take_verdict(struct conn *c, struct exchange *x)
{
    if (c->h1.exchange != x || c->h1.state != H1_ASKED || c->state != CONN_OPEN) {
        return;
    }
    h1_request_decided(c);
    if (c->state == CONN_OPEN && c->out.first && http_conn_send(c) != 0) {
        return;
    }
    if (c->state == CONN_OPEN && c->h1.state == H1_SEND && !c->out.first) {
        next_request(c);
    }
    if (c->state != CONN_CLOSED) {
        http_conn_pump(c);
    }
}

static const struct delivery_protocol h1_delivery = {
    .news = take_news, .quiet = take_back, .decided = take_verdict};

/* -- time -- */

/* Body bytes must keep coming, and at a rate. */
static bool body_too_slow(const struct conn *c)
{
    const struct http_settings *settings = h1_settings_of(c);
    uint64_t now = c->loop->now_us;
    uint64_t spent = now - c->h1.body_since_us;
    uint64_t allowed = SECONDS(settings->body_timeout);
    if (settings->body_rate_min > 0) {
        allowed += c->h1.body_read * CLOCK_US_PER_SECOND / (uint64_t)settings->body_rate_min;
        if (spent > allowed) {
            return true;
        }
    }
    return now - c->progress_us > SECONDS(settings->body_timeout);
}

/* A request may have come since the loop last looked, which is long ago on a busy machine: it is served. */
static void close_idle(struct conn *c, const char *why)
{
    if (http_conn_silent(c)) {
        http_conn_close(c, why);
    }
}

static void sweep_head(struct conn *c)
{
    const struct http_settings *settings = c->loop->front->settings;
    struct http_front *front = c->loop->front;
    uint64_t now = c->loop->now_us;
    bool first = c->h1.requests == 0;
    uint64_t idle = now > c->idle_since_us ? now - c->idle_since_us : 0;
    if (c->h1.in_head) {
        if (now >= c->deadline_us) {
            atomic_fetch_add_explicit(&front->timeouts, 1, memory_order_relaxed);
            h1_answer_refuse(c, 408);
            h1_output(c);
        }
    } else if (idle > SECONDS(first ? settings->header_timeout : settings->idle_timeout)) {
        close_idle(c, "idle");
    } else if (h1_draining(c) && idle > DRAIN_GRACE &&
               now - atomic_load_explicit(&front->drain_us, memory_order_relaxed) > DRAIN_GRACE) {
        close_idle(c, "idle while draining");
    }
}

static void h1_sweep(struct conn *c)
{
    if (came_back_quietly(c)) {
        settle(c);
    }
    uint64_t now = c->loop->now_us;
    switch (c->h1.state) {
    case H1_HEAD: sweep_head(c); break;
    case H1_BODY:
        if (body_too_slow(c)) {
            atomic_fetch_add_explicit(&c->loop->front->timeouts, 1, memory_order_relaxed);
            c->h1.keep_alive = false;
            h1_answer_error(c, c->h1.exchange, 408);
            h1_output(c);
        }
        break;
    case H1_ASKED: break; /* as long as it takes: those that wait are few */
    case H1_RUN:
    case H1_SEND:
        if (c->out.first && !h1_lent(c) && now - c->progress_us > SECONDS(h1_settings_of(c)->write_timeout)) {
            http_conn_close(c, "the client reads too slowly");
        }
        break;
    }
}

static void h1_drain(struct conn *c)
{
    if (c->h1.state == H1_HEAD || c->h1.state == H1_BODY) {
        c->h1.keep_alive = false;
    }
}

static void h1_eof(struct conn *c)
{
    if (c->h1.state == H1_HEAD || c->h1.state == H1_BODY) {
        http_conn_close(c, "closed by the client");
    }
}

static void h1_leave(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    if (!x) {
        return;
    }
    if (h1_lent(c)) {
        int was = LEND_WORKER;
        delivery_abort(x);
        atomic_compare_exchange_strong(&x->handover.lend, &was, LEND_NOTIFY);
        return;
    }
    chunk_clear(&c->out); /* it may borrow from the exchange */
    c->h1.exchange = NULL;
    x->delivery.wire = c->sent - c->h1.sent_before;
    delivery_leave(x);
}

static int h1_start(struct conn *c)
{
    c->h1 = (struct h1_conn){.state = H1_HEAD, .keep_alive = true};
    c->deadline_us = 0;
    c->idle_since_us = c->loop->now_us;
    http_conn_become(c, &h1_protocol);
    return 0;
}

static bool h1_idle(const struct conn *c)
{
    return c->h1.state == H1_HEAD && !c->h1.in_head && c->h1.requests > 0;
}

const struct conn_protocol h1_protocol = {
    .name = "HTTP/1",
    .delivery = &h1_delivery,
    .start = h1_start,
    .idle = h1_idle,
    .wants = h1_wants,
    .expects = h1_expects,
    .input = h1_input,
    .eof = h1_eof,
    .output = h1_output,
    .sweep = h1_sweep,
    .drain = h1_drain,
    .leave = h1_leave,
    .lent = h1_lent,
};
