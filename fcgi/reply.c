/* The answer: a request's io functions, over the collected output of fcgi/out.h. Worker's thread with io_lock
 * held, except reply_abandon. */
#include <errno.h>
#include <fastcgi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/fcgi_wire.h"
#include "engine/base/log.h"
#include "engine/base/reason.h"
#include "fcgi/exchange.h"
#include "fcgi/fcgi_settings.h"
#include "fcgi/record.h"

#define LOOK_EVERY_US   5000 /* how often a busy writer asks whether the peer is still there */
#define STATUS_LINE_MAX 1023 /* php-fpm's cut */

/* -- writing -- */

static struct fcgi_exchange *exchange_of(struct request *r)
{
    return r->front;
}

static bool is_gone(const struct fcgi_exchange *x)
{
    return x->out.broken || x->aborted;
}

static int put_out(struct fcgi_exchange *x, const char *p, size_t n)
{
    return out_put(&x->out, FCGI_WIRE_STDOUT, p, n);
}

/* Has the client left while the script ran? Asked when output leaves anyway, not more often than it matters.
 */
static bool peer_left(struct fcgi_exchange *x)
{
    uint64_t now = clock_coarse_us();

    if (x->out.written && now - x->looked_us >= LOOK_EVERY_US) {
        x->looked_us = now;
        if (body_peer_left(x)) {
            x->out.broken |= !x->aborted;
        }
    }
    return is_gone(x);
}

static int reply_write(struct request *r, const char *p, size_t n)
{
    struct fcgi_exchange *x = exchange_of(r);

    if (is_gone(x) || (!out_has_room(&x->out, n) && peer_left(x))) {
        return -1;
    }
    return put_out(x, p, n);
}

static int reply_flush(struct request *r)
{
    struct fcgi_exchange *x = exchange_of(r);

    if (is_gone(x) || peer_left(x)) {
        return -1;
    }
    return out_flush(&x->out);
}

/* -- the head -- */

static bool is_named(const struct header_line *line, struct str name)
{
    return line->len > name.n + 1 && line->text[name.n] == ':' &&
           strncasecmp(line->text, name.p, name.n) == 0;
}

static bool has_status_header(const struct response_head *head)
{
    for (size_t i = 0; i < head->count; i++) {
        if (is_named(&head->lines[i], STR("Status"))) {
            return true;
        }
    }
    return false;
}

/* The code in "HTTP/1.1 304 Not Modified". */
static int status_in(struct str line, int otherwise)
{
    const char *space = memchr(line.p, ' ', line.n);

    return space ? atoi(space + 1) : otherwise;
}

/* The status line by php-fpm's rules: none for a plain 200, and none when the script made a Status: header
 * of its own. Its length in out, 0 = none; *status becomes what the line says. */
static size_t status_line(const struct response_head *head, const struct cgi_rules *rules, char *out,
                          int *status)
{
    struct str line = head->status_line;
    const char *space = line.p ? memchr(line.p, ' ', line.n) : NULL;
    const char *reason = reason_php(head->status);
    int n;

    if (head->status == 200 && !rules->nph) {
        return 0;
    }
    if (rules->rfc2616_headers && line.p) {
        *status = status_in(line, head->status);
        n = snprintf(out, STATUS_LINE_MAX + 1, "%.*s", (int)line.n, line.p);
    } else if (space && space - line.p >= 5 && strncasecmp(line.p, "HTTP/", 5) == 0) {
        *status = status_in(line, head->status);
        n = snprintf(out, STATUS_LINE_MAX + 1, "Status:%.*s", (int)(line.p + line.n - space), space);
    } else if (has_status_header(head)) {
        return 0;
    } else {
        n = snprintf(out, STATUS_LINE_MAX + 1, "Status: %d%s%s", head->status, reason ? " " : "",
                     reason ? reason : "");
    }
    return n > STATUS_LINE_MAX ? STATUS_LINE_MAX : (size_t)n;
}

static int put_line(struct fcgi_exchange *x, const char *p, size_t n)
{
    return put_out(x, p, n) < 0 || put_out(x, "\r\n", 2) < 0 ? -1 : 0;
}

/* A script's own fields of these names stay alone. */
static int put_ids(struct fcgi_exchange *x, struct request *r, const struct response_head *head)
{
    char line[128], parent[TRACEPARENT_SIZE];
    bool has_id = false, has_parent = false;
    int n;

    for (size_t i = 0; i < head->count; i++) {
        has_id |= is_named(&head->lines[i], STR("X-Request-ID"));
        has_parent |= is_named(&head->lines[i], STR("traceparent"));
    }
    request_identify_once(r);
    request_traceparent(r, parent);
    n = snprintf(line, sizeof(line), "X-Request-ID: %s", r->trace.id);
    if (!has_id && put_line(x, line, (size_t)n) < 0) {
        return -1;
    }
    n = snprintf(line, sizeof(line), "traceparent: %s", parent);
    return has_parent ? 0 : put_line(x, line, (size_t)n);
}

static int reply_send_head(struct request *r, const struct response_head *head)
{
    struct fcgi_exchange *x = exchange_of(r);
    char line[STATUS_LINE_MAX + 1];
    int status = head->status;
    size_t n = status_line(head, &cgi_rules, line, &status);
    bool have_status = n > 0;
    int result = n ? put_line(x, line, n) : 0;

    x->hinted = false;
    for (size_t i = 0; i < head->count && result == 0; i++) {
        const struct header_line *h = &head->lines[i];
        bool is_status = is_named(h, STR("Status"));

        if (!h->len || (is_status && have_status) || (status == 304 && is_named(h, STR("Content-Type")))) {
            continue;
        }
        have_status |= is_status;
        result = put_line(x, h->text, h->len);
    }
    if (result == 0 && fcgi_settings_of(pool_conf(r->pool))->request_id_headers) {
        result = put_ids(x, r, head);
    }
    return result == 0 && put_out(x, "\r\n", 2) == 0 && !is_gone(x) ? 0 : -1;
}

/* An interim head goes in front of the answer's, in the same form and at once. Only
 * http/upstream/upstream_answer.c, which has asked for it, could tell the two apart. */
static int reply_send_interim(struct request *r, const struct response_head *head)
{
    struct fcgi_exchange *x = exchange_of(r);
    char line[64];
    int n = snprintf(line, sizeof(line), "Status: %d Interim", head->status);

    if (!x->may_hint || head->status == 101) {
        return 0;
    }
    x->hinted |= !x->out.written;
    int result = put_line(x, line, (size_t)n);
    for (size_t i = 0; i < head->count && result == 0; i++) {
        if (is_named(&head->lines[i], STR("Link"))) { /* what http/answer/reply_head.c passes on */
            result = put_line(x, head->lines[i].text, head->lines[i].len);
        }
    }
    return result == 0 && put_out(x, "\r\n", 2) == 0 && out_flush(&x->out) == 0 && !is_gone(x) ? 0 : -1;
}

/* -- the rest -- */

static ssize_t reply_read_body(struct request *r, char *buf, size_t n)
{
    struct fcgi_exchange *x = exchange_of(r);
    uint64_t left = r->content_length < 0 ? n : (uint64_t)r->content_length - r->body_read;

    if (x->out.broken) {
        return -1;
    }
    if (r->content_length >= 0 && r->body_read >= (uint64_t)r->content_length) {
        return 0; /* what is longer than announced is cut */
    }
    return body_read(x, buf, n < left ? n : (size_t)left);
}

/* Several messages of one request are one text for the web server, which logs them on one line. */
static void reply_message(struct request *r, const char *text, size_t n)
{
    struct fcgi_exchange *x = exchange_of(r);

    if (x->out.broken || !n) {
        return;
    }
    if (x->has_message) {
        out_put(&x->out, FCGI_WIRE_STDERR, "; ", 2);
    }
    x->has_message = true;
    out_put(&x->out, FCGI_WIRE_STDERR, text, n);
}

/* For the log of the process that asked: a record that FastCGI does not have, which only goes there. */
static void tell_usage(struct fcgi_exchange *x)
{
    const struct request_usage *usage = &x->request.usage;
    char text[FCGI_WIRE_USAGE_MAX];

    if (!x->request.usage_wanted || !usage->known) {
        return;
    }
    int n = snprintf(text, sizeof(text), "%llu %llu %zu", (unsigned long long)usage->user_us,
                     (unsigned long long)usage->system_us, usage->memory_peak);

    out_put(&x->out, FCGI_WIRE_USAGE, text, (size_t)n);
}

/* The connection is no longer this exchange's: it may serve another worker's request the next moment. */
static void give_back(struct fcgi_exchange *x)
{
    atomic_store(&x->fd, -1);
    x->conn = NULL;
}

/* No connection lasts beyond its answer: the server is about to end, or ends. */
static bool ends(const struct fcgi_exchange *x)
{
    const struct fcgi_conn *c = x->conn;
    struct pool *pool = c->front->pool;

    return (pool_leaving(pool) && c->kind != FCGI_INTERNAL) ||
           (atomic_load(&c->front->draining) && !pool_can_hand_over(pool));
}

static bool is_readable(enum body_end end)
{
    return end == BODY_WHOLE || end == BODY_ABORTED;
}

/* The next request may be in our buffer already, unasked. */
static bool is_kept(const struct fcgi_exchange *x, enum body_end end)
{
    bool more = x->input_at < x->input_n && !atomic_load(&x->conn->front->draining);

    return x->keep && is_readable(end) && (more || !ends(x));
}

/* Decides whether the connection is kept, once: where it is not, its end leaves with our last word, and not
 * behind it, when a web server that believes in it may have sent the next request. */
static int say_end(struct fcgi_exchange *x, enum body_end *end)
{
    bool first = x->body.end != BODY_OPEN || body_visibly_empty(x) || (x->keep && ends(x));

    if (first) {
        *end = body_skip(x);
        x->keep = is_kept(x, *end);
    }
    if (out_end(&x->out, first && !x->keep) < 0) {
        return -1;
    }
    if (!first) {
        *end = x->keep ? body_skip_late_end(x) : body_skip(x);
        x->keep = x->keep && is_readable(*end);
    }
    return 0;
}

static void finish(struct fcgi_exchange *x)
{
    struct fcgi_conn *c = x->conn;
    enum body_end end;

    tell_usage(x);
    if (say_end(x, &end) < 0) {
        give_back(x);
        conn_close(c, "it cannot be written");
        return;
    }
    if (x->keep && x->input_at < x->input_n) {
        return; /* the next request is in our buffer: fcgi_serve goes on with it after this one */
    }
    give_back(x);
    conn_answered(c, x->keep, end == BODY_WHOLE);
}

static void reply_finish(struct request *r)
{
    log_tap_fn tap = log_tap;

    log_tap = NULL; /* what is logged now is the server's, not the request's: it is over */
    finish(exchange_of(r));
    log_tap = tap;
}

/* -- a lost worker -- */

/* Control thread. A whole small answer, past what is collected: that belongs to the lost worker. */
static void send_canned(int fd, uint16_t id, int status)
{
    const char *reason = reason_php(status);
    char text[256];
    int n =
        snprintf(text, sizeof(text), "Status: %d %s\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\n%s\n",
                 status, reason ? reason : "Error", reason ? reason : "Error");
    unsigned char record[FCGI_WIRE_HEADER_SIZE + sizeof(text)];

    fcgi_wire_put(record, FCGI_WIRE_STDOUT, id, (size_t)n, 0);
    memcpy(record + FCGI_WIRE_HEADER_SIZE, text, (size_t)n);
    if (record_send(fd, record, FCGI_WIRE_HEADER_SIZE + (size_t)n) == 0) {
        record_send_end(fd, id, FCGI_REQUEST_COMPLETE);
    }
}

/* Control thread. The worker and its exchange are never used again, so what they own is left as it is; the
 * connection is ended, and counted as closed, so that a drain need not wait for it. */
static void reply_abandon(struct request *r, int status, bool locked)
{
    struct fcgi_exchange *x = exchange_of(r);
    int fd = atomic_load(&x->fd);

    if (fd < 0) {
        return; /* answered; the connection serves others */
    }
    if (!locked) {
        if (x->conn) { /* first: the worker may wake from what follows, and close it */
            conn_count_out(x->conn);
        }
        shutdown(fd, SHUT_RDWR);
        return;
    }
    struct fcgi_conn *c = x->conn;

    give_back(x);
    if (x->out.written && !x->hinted) {
        shutdown(fd, SHUT_RDWR);
        conn_close(c, "its worker was lost in the middle of a response");
        return;
    }
    send_canned(fd, x->out.id, status);
    conn_answered(c, false, false);
}

/* Control thread. The peer had sent its next request along with this one, and the worker has read it: it is
 * told by the end of the connection that nobody serves it. */
static void reply_forsake(struct request *r)
{
    struct fcgi_exchange *x = exchange_of(r);
    struct fcgi_conn *c = x->conn;

    if (atomic_load(&x->fd) >= 0 && c) {
        give_back(x);
        conn_close(c, "the worker that had read its next request was lost");
    }
}

const struct request_io fcgi_request_io = {
    .read_body = reply_read_body,
    .send_head = reply_send_head,
    .send_interim = reply_send_interim,
    .write = reply_write,
    .flush = reply_flush,
    .finish = reply_finish,
    .message = reply_message,
    .abandon = reply_abandon,
    .forsake = reply_forsake,
};
