/* The request on its way to the other process. See upstream_private.h. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "http/upstream/upstream_private.h"

#define BODY_PIECE (32u << 10)

/* Ids, so that both processes' logs name the request alike; whether an interim head may come before the
 * answer's (fcgi/reply.c); and that the request is counted and logged here, where its client is. */
static void add_own(struct buf *pairs, const struct upstream *u)
{
    const struct request *r = &u->x->request;
    char parent[TRACEPARENT_SIZE];
    if (r->trace.id[0]) {
        request_traceparent(r, parent);
        upstream_wire_param(pairs, STR("HTTP_X_REQUEST_ID"), str_of(r->trace.id));
        upstream_wire_param(pairs, STR("HTTP_TRACEPARENT"), (struct str){parent, TRACEPARENT_SIZE - 1});
    }
    if (u->target->ours && r->proto >= 1001) {
        upstream_wire_param(pairs, STR("TOKIO_INTERIM"), STR("1"));
    }
    if (r->head_counts) {
        upstream_wire_param(pairs, STR("TOKIO_HEAD"), STR("1"));
    }
    if (u->target->ours) {
        upstream_wire_param(pairs, STR("TOKIO_COUNTED"), request_shows_usage(r) ? STR("usage") : STR("1"));
    }
}

static bool is_left_out(const struct param *p)
{
    static const char *const names[] = {"HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "PATH_TRANSLATED"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(p->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

int upstream_request_begin(struct upstream *u)
{
    struct request *r = &u->x->request;
    struct buf pairs = {0};
    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];
        if (!is_left_out(p)) {
            upstream_wire_param(&pairs, (struct str){p->name, p->name_len},
                                (struct str){p->value, p->value_len});
        }
    }
    add_own(&pairs, u);
    r->body_read = u->x->http.body.read = 0;
    u->body_sent = false;
    u->out_at = 0;
    upstream_wire_begin(&u->out, u->target->keep_alive);
    upstream_wire_stream(&u->out, FCGI_WIRE_PARAMS, pairs.p, pairs.n);
    upstream_wire_stream(&u->out, FCGI_WIRE_PARAMS, NULL, 0);
    bool bad = u->out.failed || pairs.failed;
    buf_free(&pairs);
    return bad ? -1 : 0;
}

/* The next piece of the body, once the last one has left. 0 or -1. */
static int add_body(struct upstream *u)
{
    char piece[BODY_PIECE];
    ssize_t n = http_body_read(&u->x->http.body, piece, sizeof piece);
    if (n < 0) {
        return -1;
    }
    u->out.n = u->out_at = 0;
    u->body_sent = n == 0;
    u->x->request.body_read += (uint64_t)n;
    upstream_wire_stream(&u->out, FCGI_WIRE_STDIN, piece, (size_t)n);
    return u->out.failed ? -1 : 0;
}

int upstream_request_send(struct upstream *u)
{
    while (u->writable) {
        if (u->out_at == u->out.n && (u->body_sent || add_body(u) != 0)) {
            return u->body_sent ? 0 : -1;
        }
        ssize_t n = send(u->fd, u->out.p + u->out_at, u->out.n - u->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            u->writable = false;
            return 0;
        }
        if (n < 0) {
            return -1;
        }
        u->out_at += (size_t)n;
        u->deadline_us = u->loop->now_us + u->target->wait_us;
    }
    return 0;
}
