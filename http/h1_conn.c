/* HTTP/1.0 and 1.1 on a connection: heads, bodies, pipelining, keep-alive, answers. Loop thread only.
 *
 * One request at a time: HEAD -> BODY -> RUN (with the workers) or SEND (an answer of our own) -> HEAD. Input
 * is not read while a response is made, so a pipelining client waits in its own socket buffer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/account.h"
#include "http/answer.h"
#include "http/conn.h"
#include "http/exchange.h"
#include "http/h2_conn.h"
#include "http/wire.h"

#define SKIP_BODY_MAX (64u << 10) /* an unwanted body up to this size is read, to keep the connection */
#define DRAIN_GRACE   (1 * CLOCK_US_PER_SECOND)
#define SECONDS(n)    ((uint64_t)(n)*CLOCK_US_PER_SECOND)

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define H2_PREFACE_N (sizeof h2_preface - 1)

static const struct http_settings *settings_of(const struct conn *c)
{
    return c->loop->front->settings;
}

static bool draining(const struct conn *c)
{
    return atomic_load_explicit(&c->loop->front->draining, memory_order_relaxed);
}

static void next_request(struct conn *c);

/* -- answers -- */

/* Refuses what can't be read as a request: the connection ends with this answer. */
static void refuse(struct conn *c, int status)
{
    char text[256];
    struct buf head = {0};
    int n = snprintf(text, sizeof text, "%d %s\n", status, wire_reason(status));
    struct http_answer answer = {.status = status, .body_n = (uint64_t)n};
    answer.fields[answer.field_count++] = (struct http_field){STR("Content-Type"), STR("text/plain")};
    wire_answer(&head, &answer, false, false);
    buf_add(&head, text, (size_t)n);
    c->h1.keep_alive = false;
    c->h1.state = H1_SEND;
    if (head.failed || chunk_copy(&c->out, head.p, head.n) != 0) {
        http_conn_close(c, "out of memory");
    }
    buf_free(&head);
    account_refused(c, status);
}

static void add_pieces(struct conn *c, struct exchange *x)
{
    const struct http_answer *answer = x->answer;
    for (size_t i = 0; i < answer->piece_count; i++) {
        const struct http_piece *piece = &answer->pieces[i];
        struct chunk *chunk = arena_alloc(x->arena, sizeof *chunk);
        if (!chunk) {
            http_conn_close(c, "out of memory");
            return;
        }
        if (piece->n > 0) {
            *chunk = (struct chunk){.p = piece->p, .n = piece->n, .fd = piece->fd, .offset = piece->offset};
            chunk_add(&c->out, chunk);
        }
    }
}

/* x->answer leaves. extra: head lines of a script that let us send a file. */
static void send_answer(struct conn *c, struct exchange *x)
{
    struct buf head = {0};
    c->h1.state = H1_SEND;
    c->h1.keep_alive = c->h1.keep_alive && !draining(c);
    answer_seal(x);
    wire_answer(&head, x->answer, c->h1.keep_alive, x->request.proto < 1001);
    if (head.failed || chunk_copy(&c->out, head.p, head.n) != 0) {
        buf_free(&head);
        http_conn_close(c, "out of memory");
        return;
    }
    buf_free(&head);
    if (!x->answer->no_body && !x->head_only && wire_has_body(x->answer->status)) {
        add_pieces(c, x);
    }
}

static void send_error(struct conn *c, struct exchange *x, int status)
{
    answer_error(x, status);
    send_answer(c, x);
}

/* -- requests -- */

/* more: bytes of a next request are here already. */
static void submit(struct conn *c, struct exchange *x, bool more)
{
    x->keep_alive = c->h1.keep_alive;
    more |= c->readable; /* no new edge would tell of what is unread */
    if (!c->tls && !c->out.first && !x->target) {
        x->fd = c->fd;
        atomic_store_explicit(&x->lend, more ? LEND_NOTIFY : LEND_WORKER, memory_order_relaxed);
    }
    c->h1.state = H1_RUN;
    if (intake_submit(x) != 0) {
        x->fd = -1; /* nobody has it */
        send_answer(c, x);
    }
}

static void drop_exchange(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    c->h1.exchange = NULL;
    if (x) {
        x->conn = NULL;
        exchange_drop(x);
    }
}

static bool try_upgrade(struct conn *c, struct exchange *x, const struct h1_facts *facts)
{
    if (!facts->upgrade_h2c || c->tls || x->loop->head.content_length != 0) {
        return false;
    }
    c->h1.exchange = NULL;
    if (h2_conn_upgrade(c, x, facts->h2_settings) != 0) {
        c->h1.exchange = x;
        return false;
    }
    return true;
}

/* A body that nobody wants: read if it is small, else the connection ends after the answer. */
static void plan_skip(struct conn *c, int64_t length, bool expects)
{
    if (length == 0) {
        return;
    }
    if (expects || length < 0 || length > SKIP_BODY_MAX) {
        c->h1.keep_alive = false;
        return;
    }
    c->h1.skip_body = true;
}

static void begin_body(struct conn *c, const struct h1_facts *facts, int64_t length)
{
    c->h1.state = H1_BODY;
    c->h1.chunked = facts->chunked;
    c->h1.chunks = (struct h1_chunks){0};
    c->h1.body_left = length > 0 ? (uint64_t)length : 0;
    c->h1.body_since_us = c->loop->now_us;
    c->h1.body_read = 0;
    c->progress_us = c->loop->now_us;
}

static void begin_request(struct conn *c, const struct h1_facts *facts, size_t more)
{
    struct http_head *head = &c->loop->head;
    struct exchange *x = exchange_create(c->loop, c);
    if (!x) {
        refuse(c, 503);
        return;
    }
    c->h1.exchange = x;
    c->h1.keep_alive = facts->keep_alive && !draining(c);
    c->h1.skip_body = false;
    x->request.proto = head->proto;
    x->keep_alive = c->h1.keep_alive;
    enum intake_verdict verdict = intake_head(x, head);
    if (verdict == INTAKE_SCRIPT && head->content_length > settings_of(c)->max_body_size) {
        answer_error(x, 413);
        verdict = INTAKE_ANSWER;
    }
    if (try_upgrade(c, x, facts)) {
        return;
    }
    if (verdict == INTAKE_ANSWER) {
        plan_skip(c, head->content_length, facts->expect_continue);
        if (!c->h1.skip_body) {
            send_answer(c, x);
            return;
        }
    }
    if (head->content_length == 0) {
        submit(c, x, more > 0);
        return;
    }
    begin_body(c, facts, head->content_length);
    if (facts->expect_continue && more == 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (chunk_copy(&c->out, go_on, sizeof go_on - 1) != 0) {
            http_conn_close(c, "out of memory");
        }
    }
}

static size_t take_head(struct conn *c, const char *p, size_t n)
{
    struct h1_conn *h1 = &c->h1;
    struct h1_facts facts;
    if (!h1->in_head) {
        if (p[0] == '\r' && (n == 1 || p[1] == '\n')) {
            return n == 1 ? 0 : 2; /* an empty line before a request (RFC 9112, 2.2) */
        }
        if (h1->requests == 0 && memcmp(p, h2_preface, n < H2_PREFACE_N ? n : H2_PREFACE_N) == 0) {
            if (n < H2_PREFACE_N) {
                return 0;
            }
            if (h2_conn_start(c) != 0) {
                http_conn_close(c, "out of memory");
                return 0;
            }
            return c->protocol->input(c, p, n);
        }
        h1->in_head = true;
        h1->scanned = 0;
        c->deadline_us = c->loop->now_us + SECONDS(settings_of(c)->header_timeout);
    }
    ptrdiff_t end = h1_parse_end(p, n, (size_t)settings_of(c)->head_size, &h1->scanned);
    if (end == H1_MORE) {
        return 0;
    }
    int bad = end < 0 ? (int)end : h1_parse_head(p, (size_t)end, &c->loop->head, &facts);
    h1->in_head = false;
    h1->requests++;
    if (bad) {
        refuse(c, -bad);
        return n;
    }
    c->loop->head.tls = c->tls != NULL;
    begin_request(c, &facts, n - (size_t)end);
    return (size_t)end;
}

static void body_complete(struct conn *c, size_t more)
{
    struct exchange *x = c->h1.exchange;
    if (c->h1.skip_body) {
        send_answer(c, x);
    } else {
        submit(c, x, more > 0);
    }
}

/* 0, or -1: an answer is on its way, or the connection was closed. */
static int store_body(struct conn *c, struct str data)
{
    struct exchange *x = c->h1.exchange;
    const struct http_settings *settings = settings_of(c);
    c->h1.body_read += data.n;
    if (c->h1.skip_body) {
        return 0;
    }
    int status = 0;
    if (c->h1.body_read > (uint64_t)settings->max_body_size) {
        status = 413;
    } else if (http_body_add(&x->body, data.p, data.n, x->request.content_length,
                             (size_t)settings->body_buffer) != 0) {
        status = 503;
    }
    if (status) {
        c->h1.keep_alive = false;
        send_error(c, x, status);
        return -1;
    }
    return 0;
}

static size_t take_chunks(struct conn *c, const char *p, size_t n)
{
    size_t taken = 0;
    for (;;) {
        size_t used;
        struct str data = STR_NONE;
        enum h1_chunk_result result = h1_chunks_next(&c->h1.chunks, p + taken, n - taken, &used, &data);
        taken += used;
        switch (result) {
        case H1_CHUNK_DATA:
            if (store_body(c, data) != 0) {
                return n;
            }
            break;
        case H1_CHUNK_MORE: return taken;
        case H1_CHUNK_END: body_complete(c, n - taken); return taken;
        case H1_CHUNK_BAD:
            c->h1.keep_alive = false;
            send_error(c, c->h1.exchange, 400);
            return n;
        }
    }
}

static size_t take_body(struct conn *c, const char *p, size_t n)
{
    c->progress_us = c->loop->now_us;
    if (c->h1.chunked) {
        return take_chunks(c, p, n);
    }
    size_t take = n < c->h1.body_left ? n : (size_t)c->h1.body_left;
    c->h1.body_left -= take;
    if (store_body(c, (struct str){p, take}) != 0) {
        return n;
    }
    if (c->h1.body_left == 0) {
        body_complete(c, n - take);
    }
    return take;
}

static bool h1_wants(struct conn *c)
{
    return c->h1.state == H1_HEAD || c->h1.state == H1_BODY;
}

static size_t h1_input(struct conn *c, const char *p, size_t n)
{
    size_t used = 0;
    while (used < n && c->state == CONN_OPEN && c->protocol == &h1_protocol && h1_wants(c)) {
        bool in_head = c->h1.state == H1_HEAD;
        size_t took = in_head ? take_head(c, p + used, n - used) : take_body(c, p + used, n - used);
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

/* -- the end of a response -- */

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

/* Does the worker still have the descriptor? It may have come back quietly. */
static bool h1_lent(const struct conn *c)
{
    const struct exchange *x = c->h1.exchange;
    if (!x || x->fd < 0 || x->out_end) {
        return false;
    }
    return atomic_load_explicit(&x->lend, memory_order_acquire) != LEND_LOOP;
}

static bool came_back_quietly(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    return c->h1.state == H1_RUN && x->fd >= 0 && !x->out_end && !h1_lent(c);
}

static void settle(struct conn *c)
{
    uint64_t returned = c->h1.exchange->returned_us;
    next_request(c);
    c->idle_since_us = returned;
}

/* A client that has only said all it has to say still gets its answer. */
static bool is_reset(const struct conn *c)
{
    int error = 0;
    socklen_t n = sizeof error;
    return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error;
}

/* Something happened on a connection while its request is with the workers. One look at `lend` decides,
 * because it changes under us: either the worker still has the descriptor, and tells us when it is done, or
 * it is ours and what happened is seen to now. Two looks could each see the half that asks for nothing. */
static void look_after_run(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    int was = LEND_WORKER;
    if (x->fd < 0 || x->out_end) {
        if (c->peer_closing && is_reset(c)) {
            http_conn_close(c, "reset by the client");
        }
    } else if (!atomic_compare_exchange_strong(&x->lend, &was, LEND_NOTIFY) && was == LEND_LOOP) {
        settle(c);
    } else if (is_reset(c)) {
        exchange_abort(x);
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

void h1_conn_message(struct conn *c, struct exchange *x)
{
    if (c->h1.exchange != x) {
        return;
    }
    if (!c->out.first) { /* until now the worker wrote; from here on the client's patience is measured */
        c->progress_us = c->loop->now_us;
    }
    while (x->out.first) {
        struct chunk *chunk = x->out.first;
        x->out.first = chunk->next;
        chunk_add(&c->out, chunk);
    }
    x->out = (struct chunk_queue){0};
    if (x->out_end) {
        if (c->closing || x->out_cut) {
            c->closing = false;
            http_conn_close(c, "the response broke off");
            return;
        }
        c->h1.keep_alive = c->h1.keep_alive && !x->close;
        c->h1.state = H1_SEND;
        if (x->reply.file) {
            answer_script_file(x);
            send_answer(c, x);
        }
    }
    if (c->state == CONN_OPEN && http_conn_send(c) == 0 && x->out_end && !c->out.first) {
        next_request(c);
    }
    http_conn_pump(c);
}

/* -- time -- */

/* Body bytes must keep coming, and at a rate. */
static bool body_too_slow(const struct conn *c)
{
    const struct http_settings *settings = settings_of(c);
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
    const struct http_settings *settings = settings_of(c);
    struct http_front *front = c->loop->front;
    uint64_t now = c->loop->now_us;
    bool first = c->h1.requests == 0;
    uint64_t idle = now > c->idle_since_us ? now - c->idle_since_us : 0;
    if (c->h1.in_head) {
        if (now >= c->deadline_us) {
            atomic_fetch_add_explicit(&front->timeouts, 1, memory_order_relaxed);
            refuse(c, 408);
            h1_output(c);
        }
    } else if (idle > SECONDS(first ? settings->header_timeout : settings->idle_timeout)) {
        close_idle(c, "idle");
    } else if (draining(c) && idle > DRAIN_GRACE &&
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
            send_error(c, c->h1.exchange, 408);
            h1_output(c);
        }
        break;
    case H1_RUN:
    case H1_SEND:
        if (c->out.first && !h1_lent(c) && now - c->progress_us > SECONDS(settings_of(c)->write_timeout)) {
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
        exchange_abort(x);
        atomic_compare_exchange_strong(&x->lend, &was, LEND_NOTIFY);
        return;
    }
    chunk_clear(&c->out); /* it may borrow from the exchange */
    c->h1.exchange = NULL;
    exchange_leave(x);
}

void h1_conn_start(struct conn *c)
{
    c->h1 = (struct h1_conn){.state = H1_HEAD, .keep_alive = true};
    c->deadline_us = 0;
    c->idle_since_us = c->loop->now_us;
    http_conn_become(c, &h1_protocol);
}

const struct conn_protocol h1_protocol = {
    .name = "HTTP/1",
    .wants = h1_wants,
    .input = h1_input,
    .eof = h1_eof,
    .output = h1_output,
    .sweep = h1_sweep,
    .drain = h1_drain,
    .leave = h1_leave,
    .lent = h1_lent,
};
