/* Requests on an HTTP/1 connection: head and body, from bytes to what the workers get. */
#include <string.h>

#include "http/answer/answer.h"
#include "http/answer/exchange.h"
#include "http/proto/h1_private.h"
#include "http/proto/h2_conn.h"

#define SKIP_BODY_MAX (64u << 10) /* an unwanted body up to this size is read, to keep the connection */

static const char h2_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define H2_PREFACE_N (sizeof h2_preface - 1)

/* more: bytes of a next request are here already. */
static void submit(struct conn *c, struct exchange *x, bool more)
{
    x->http.keep_alive = c->h1.keep_alive;
    more |= c->readable; /* no new edge would tell of what is unread */
    if (!c->out.first && !x->http.target) {
        x->handover.fd = c->fd;
        x->handover.tls = c->tls;
        atomic_store_explicit(&x->handover.lend, more ? LEND_NOTIFY : LEND_WORKER, memory_order_relaxed);
    }
    c->h1.state = H1_RUN;
    if (intake_submit(x) != 0) {
        x->handover.fd = -1; /* nobody has it */
        h1_answer_send(c, x);
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
        c->h1.sent_before = c->sent;
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

static void begin_body(struct conn *c, int64_t length)
{
    c->h1.state = H1_BODY;
    c->h1.chunks = (struct h1_chunks){0};
    c->h1.body_left = length > 0 ? (uint64_t)length : 0;
    c->h1.body_since_us = c->loop->now_us;
    c->h1.body_read = 0;
    c->progress_us = c->loop->now_us;
}

/* Its head is judged: the answer, the body, or the workers are next. more: bytes behind the head are here. */
static void go_on(struct conn *c, const struct http_head *head, enum intake_verdict verdict, bool more)
{
    struct exchange *x = c->h1.exchange;
    if (verdict == INTAKE_ANSWER) {
        plan_skip(c, head->content_length, c->h1.expects_continue);
        if (!c->h1.skip_body) {
            h1_answer_send(c, x);
            return;
        }
    }
    if (head->content_length == 0) {
        submit(c, x, more);
        return;
    }
    begin_body(c, head->content_length);
    if (c->h1.expects_continue && !more) {
        static const char leave[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (chunk_copy(&c->out, leave, sizeof leave - 1) != 0) {
            http_conn_close(c, "out of memory");
        }
        x->reply.interim_n += sizeof leave - 1;
    }
}

static enum intake_verdict within_size(struct conn *c, const struct http_head *head,
                                       enum intake_verdict verdict)
{
    if (verdict == INTAKE_SCRIPT && head->content_length > h1_settings_of(c)->max_body_size) {
        answer_error(c->h1.exchange, 413);
        return INTAKE_ANSWER;
    }
    return verdict;
}

/* Whether more has come meanwhile is not known: a client that waits for leave to send its body gets it, and
 * one that does not wait is not troubled by it. */
void h1_request_decided(struct conn *c)
{
    struct exchange *x = c->h1.exchange;
    const struct http_head *head = x->http.head;
    enum intake_verdict verdict = within_size(c, head, intake_again(x));
    bool more = head->content_length == 0 || !c->h1.expects_continue;
    go_on(c, head, verdict, more);
}

static void begin_request(struct conn *c, const struct h1_facts *facts, size_t more)
{
    struct http_head *head = &c->loop->head;
    struct exchange *x = exchange_create(c);
    if (!x) {
        h1_answer_refuse(c, 503);
        return;
    }
    c->h1.exchange = x;
    c->h1.keep_alive = facts->keep_alive && !front_leaves(c->loop->front);
    c->h1.skip_body = false;
    c->h1.chunked = facts->chunked;
    c->h1.expects_continue = facts->expect_continue;
    x->request.proto = head->proto;
    x->http.keep_alive = c->h1.keep_alive;
    enum intake_verdict verdict = within_size(c, head, intake_head(x, head));
    if (verdict == INTAKE_ASKED) {
        c->h1.state = H1_ASKED;
    } else if (!try_upgrade(c, x, facts)) {
        go_on(c, head, verdict, more > 0);
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
        /* On a port for TLS the handshake says which protocol it is. */
        if (h1->requests == 0 && !c->tls && !c->plain_on_tls &&
            memcmp(p, h2_preface, n < H2_PREFACE_N ? n : H2_PREFACE_N) == 0) {
            if (n < H2_PREFACE_N) {
                return 0;
            }
            if (h2_protocol.start(c) != 0) {
                http_conn_close(c, "out of memory");
                return 0;
            }
            return c->protocol->input(c, p, n);
        }
        h1->in_head = true;
        h1->scanned = 0;
        c->deadline_us = c->loop->now_us + SECONDS(c->loop->front->settings->header_timeout);
    }
    ptrdiff_t end = h1_parse_end(p, n, (size_t)c->loop->front->settings->head_size, &h1->scanned);
    if (end == H1_MORE) {
        return 0;
    }
    int bad = end < 0 ? (int)end : h1_parse_head(p, (size_t)end, &c->loop->head, &facts);
    h1->in_head = false;
    h1->requests++;
    if (bad) {
        h1_answer_refuse(c, -bad);
        return n;
    }
    if (c->plain_on_tls) {
        h1_answer_tls(c, &c->loop->head);
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
        h1_answer_send(c, x);
    } else {
        submit(c, x, more > 0);
    }
}

/* 0, or -1: an answer is on its way, or the connection was closed. */
static int store_body(struct conn *c, struct str data)
{
    struct exchange *x = c->h1.exchange;
    const struct http_settings *settings = h1_settings_of(c);
    c->h1.body_read += data.n;
    if (c->h1.skip_body) {
        return 0;
    }
    int status = 0;
    if (c->h1.body_read > (uint64_t)settings->max_body_size) {
        status = 413;
    } else if (http_body_add(&x->http.body, data.p, data.n, x->request.content_length,
                             (size_t)settings->body_buffer) != 0) {
        status = 503;
    }
    if (status) {
        c->h1.keep_alive = false;
        h1_answer_error(c, x, status);
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
            h1_answer_error(c, c->h1.exchange, 400);
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

size_t h1_request_take(struct conn *c, const char *p, size_t n)
{
    return c->h1.state == H1_HEAD ? take_head(c, p, n) : take_body(c, p, n);
}
