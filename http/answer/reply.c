/* A script's answer on its way to the client: the worker's side. Worker threads; the control thread in a lost
 * worker's place.
 *
 * Head and body are held back until the response is complete (then it leaves in one piece with its length),
 * or is flushed or has outgrown HOLD_MAX (then it streams). The head is made in reply_head.c, bytes leave
 * through reply_parts.c. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/answer/accounting.h"
#include "http/answer/live_reload.h"
#include "http/answer/reply_head.h"
#include "http/answer/reply_message.h"
#include "http/content/error_pages.h"
#include "http/wire/wire.h"

#define HOLD_MAX (64u << 10)
#define SHORT    1 /* less than was announced: what there is leaves, and then the answer breaks off */

static size_t error_text(int status, char *out, size_t size)
{
    const char *reason = wire_reason(status);
    int n = snprintf(out, size, "<!DOCTYPE html>\n<title>%d %s</title>\n<h1>%d %s</h1>\n", status, reason,
                     status, reason);
    return (size_t)n;
}

/* -- the body -- */

/* What a piece of the body becomes on the wire: compressed, and never more than was announced. */
static int encode(struct exchange *x, const char **p, size_t *n, enum compress_mode mode)
{
    struct reply *reply = &x->reply;
    if (reply->no_body) {
        *n = 0;
        return 0;
    }
    if (reply->length >= 0 && *n > (uint64_t)reply->length - reply->sent) {
        *n = (size_t)((uint64_t)reply->length - reply->sent);
    }
    reply->sent += *n;
    if (reply->compressor) {
        x->reply.packed.n = 0;
        int bad = compressor_run(reply->compressor, *p, *n, mode, &x->reply.packed);
        *p = x->reply.packed.p;
        *n = x->reply.packed.n;
        if (bad || x->reply.packed.failed) {
            return -1;
        }
    }
    reply->body_n += *n;
    return 0;
}

static int put_body(struct exchange *x, struct reply_parts *parts, const char *p, size_t n,
                    enum compress_mode mode)
{
    char size[24];
    if (encode(x, &p, &n, mode) != 0) {
        return -1;
    }
    if (n > 0 && x->reply.chunked) {
        reply_parts_add(parts, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    }
    reply_parts_add(parts, p, n);
    if (n > 0 && x->reply.chunked) {
        reply_parts_add(parts, "\r\n", 2);
    }
    return parts->n ? reply_parts_put(x, parts) : 0;
}

/* The head leaves, and what was held back with it: from here on the response streams. */
static int begin_stream(struct exchange *x, const char *p, size_t n)
{
    struct reply_parts parts = {0};
    struct buf top = {0};
    x->reply.stream_since_us = clock_coarse_us();
    reply_head_coding(x, x->reply.length);
    int bad = reply_head_parts(x, x->reply.coded ? -1 : x->reply.length, &parts, &top);
    x->reply.state = REPLY_STREAM;
    if (!bad && x->reply.held.n) {
        bad = put_body(x, &parts, x->reply.held.p, x->reply.held.n, n ? COMPRESS_MORE : COMPRESS_FLUSH);
        parts = (struct reply_parts){0};
        x->reply.held.n = 0;
    }
    if (!bad && (n || parts.n)) {
        bad = put_body(x, &parts, p, n, x->reply.streaming || !n ? COMPRESS_FLUSH : COMPRESS_MORE);
    }
    buf_free(&top);
    return bad;
}

static int failed(struct exchange *x)
{
    x->reply.cut = true;
    return -1;
}

/* However well its client reads. What another process streams upstream.c looks after. */
static bool streams_too_long(const struct exchange *x)
{
    uint64_t limit = (uint64_t)x->http.site->settings->stream_timeout * CLOCK_US_PER_SECOND;
    if (!limit || !x->reply.stream_since_us || x->http.target ||
        clock_coarse_us() - x->reply.stream_since_us <= limit) {
        return false;
    }
    log_limited(LEVEL_NOTICE, "[pool %s] %s: its response streamed for too long and was cut",
                x->http.site->conf->name, x->request.script ? x->request.script : "a script");
    return true;
}

bool reply_holds(const struct exchange *x, size_t n)
{
    return x->reply.state == REPLY_HELD && !x->reply.streaming && x->reply.held.n + n <= HOLD_MAX;
}

static int reply_write(struct request *r, const char *p, size_t n)
{
    struct exchange *x = exchange_of_request(r);
    struct reply *reply = &x->reply;
    if (reply_is_gone(x) || reply->cut) {
        return -1;
    }
    if (streams_too_long(x)) {
        return failed(x);
    }
    if (reply->no_body) {
        reply->sent += n; /* of a HEAD: what a GET would have got */
    }
    if (reply->file || reply->refused || (reply->no_body && !reply->streaming) || n == 0) {
        return 0;
    }
    if (reply->state == REPLY_HELD) {
        if (reply_holds(x, n)) {
            buf_add(&x->reply.held, p, n);
            return x->reply.held.failed ? failed(x) : 0;
        }
        return begin_stream(x, p, n) == 0 ? 0 : failed(x);
    }
    struct reply_parts parts = {0};
    enum compress_mode mode = reply->streaming ? COMPRESS_FLUSH : COMPRESS_MORE;
    return put_body(x, &parts, p, n, mode) == 0 ? 0 : failed(x);
}

static int reply_flush(struct request *r)
{
    struct exchange *x = exchange_of_request(r);
    if (reply_is_gone(x) || x->reply.cut) {
        return -1;
    }
    if (streams_too_long(x)) {
        return failed(x);
    }
    if (x->reply.file || x->reply.refused || x->reply.state == REPLY_NONE) {
        return 0;
    }
    if (x->reply.state == REPLY_HELD) {
        return begin_stream(x, NULL, 0) == 0 ? 0 : failed(x);
    }
    if (!x->reply.compressor) {
        return 0;
    }
    struct reply_parts parts = {0};
    return put_body(x, &parts, NULL, 0, COMPRESS_FLUSH) == 0 ? 0 : failed(x);
}

static ssize_t reply_read_body(struct request *r, char *buf, size_t n)
{
    return http_body_read(&exchange_of_request(r)->http.body, buf, n);
}

/* -- the end -- */

/* Whatever happens after this, the worker's half of the response is over. quietly: the whole response is on
 * its way and the connection goes on: nobody has to be told at once. */
static void give_back(struct exchange *x, bool quietly)
{
    if (atomic_exchange(&x->handover.ended, true)) {
        return;
    }
    if (reply_writes(x)) {
        x->handover.returned_us = clock_coarse_us();
        int was = LEND_WORKER;
        if (quietly && atomic_compare_exchange_strong(&x->handover.lend, &was, LEND_LOOP)) {
            x->reply.delivered = true;
            return;
        }
        atomic_store(&x->handover.lend, LEND_POSTED);
    }
    reply_message_end(x);
}

static void use_page(struct exchange *x, const char *p, size_t n, bool typed)
{
    buf_add(&x->reply.held, p, n);
    x->reply.length = -1;
    if (!typed) {
        buf_str(&x->reply.lines, STR("Content-Type: text/html; charset=utf-8\r\n"));
    }
}

/* A script died without a word, as it does where errors are not shown: the page says what to look for in the
 * log. It is of the type that the script had in mind, unless that is none for people. */
static void use_own_page(struct exchange *x)
{
    struct str type = x->reply.type;
    const char *id = x->http.site->settings->request_id_headers ? x->request.trace.id : "";
    bool html = !type.p || str_starts(type, STR("text/html"));
    struct str page = html || str_starts(type, STR("text/plain"))
                          ? error_pages_own(x->reply.status, html, id, x->arena)
                          : STR_NONE;
    if (page.p) {
        use_page(x, page.p, page.n, type.p);
    }
}

/* An error of a script that says nothing gets the administrator's page, one of ours that takes a script's
 * place at least the plainest. */
static void fill_error(struct exchange *x)
{
    struct reply *reply = &x->reply;
    char plain[160];
    if (reply->status < 400 || x->reply.held.n > 0 || reply->length > 0 || reply->no_body) {
        return;
    }
    struct str page =
        x->http.head ? error_pages_custom(x->http.site->pages, x->http.head, reply->status) : STR_NONE;
    if (page.p) {
        use_page(x, page.p, page.n, reply->type.p);
    } else if (reply->refused) {
        use_page(x, plain, error_text(reply->status, plain, sizeof plain), false);
    } else if (reply->status == 500) {
        use_own_page(x);
    }
}

/* The size of the body as the script made it; -1: HEAD, and nobody has counted, or GET would have streamed.
 */
static int64_t size_of(const struct exchange *x)
{
    const struct reply *reply = &x->reply;
    if (!reply->no_body) {
        return (int64_t)reply->held.n;
    }
    bool counted = x->request.head_counts && wire_has_body(reply->status) && reply->sent <= HOLD_MAX;
    return reply->length >= 0 || !counted ? reply->length : (int64_t)reply->sent;
}

/* A response that was held back to its end: one piece, with its length. 0, -1, or SHORT. */
static int complete_held(struct exchange *x, struct reply_parts *parts, struct buf *top)
{
    fill_error(x);
    struct reply *reply = &x->reply;
    const char *p = x->reply.held.p;
    size_t n = x->reply.held.n;
    int64_t length = size_of(x);
    bool is_short = !reply->no_body && reply->length > length;
    if (!is_short) {
        reply_head_coding(x, length);
    }
    if (encode(x, &p, &n, COMPRESS_END) != 0) {
        return -1;
    }
    if (!reply->no_body) {
        length = is_short ? reply->length : (int64_t)n;
    } else if (reply->coded) {
        length = -1;
    }
    if (reply_head_parts(x, length, parts, top) != 0) {
        return -1;
    }
    reply_parts_add(parts, p, n);
    return is_short ? SHORT : 0;
}

/* 0, -1, or SHORT. */
static int complete_stream(struct exchange *x, struct reply_parts *parts, char size[24])
{
    const char *p = NULL;
    size_t n = 0;
    if (x->reply.compressor && encode(x, &p, &n, COMPRESS_END) != 0) {
        return -1;
    }
    if (!x->reply.no_body && x->reply.length >= 0 && x->reply.sent < (uint64_t)x->reply.length) {
        return SHORT;
    }
    if (x->reply.chunked && n > 0) {
        reply_parts_add(parts, size, (size_t)snprintf(size, 24, "%zx\r\n", n));
    }
    reply_parts_add(parts, p, n);
    if (x->reply.chunked) {
        reply_parts_add(parts, n > 0 ? "\r\n0\r\n\r\n" : "0\r\n\r\n", n > 0 ? 7 : 5);
    }
    return 0;
}

/* The last bytes: written as far as they go; the rest is the loop's. 0 or -1. */
static int put_last(struct exchange *x, struct reply_parts *parts, bool *everything)
{
    *everything = false;
    if (reply_writes(x) && reply_parts_write_now(x, parts) != 0) {
        return -1;
    }
    if (parts->n == 0) {
        *everything = reply_writes(x);
        return 0;
    }
    return reply_parts_post(x, parts, 0);
}

static void reply_finish(struct request *r)
{
    struct exchange *x = exchange_of_request(r);
    struct reply *reply = &x->reply;
    struct reply_parts parts = {0};
    struct buf top = {0};
    char size[24];
    bool everything = false;
    struct str line = live_reload_line(x);
    if (line.p) {
        reply_write(r, line.p, line.n);
    }
    if (reply->state == REPLY_NONE) {
        reply->status = 500;
        reply->no_body = x->http.head_only;
        reply->state = REPLY_HELD;
    }
    int bad = reply_is_gone(x) || reply->cut ? -1 : 0;
    if (!bad && reply->file && reply->state == REPLY_HELD) {
        give_back(x, false); /* the loop sends the file */
        return;
    }
    if (!bad) {
        bad = reply->state == REPLY_HELD ? complete_held(x, &parts, &top) : complete_stream(x, &parts, size);
    }
    if (bad == SHORT) {
        log_limited(LEVEL_WARNING, "[pool %s] %s: it announced %lld bytes and gave fewer, its answer was cut",
                    x->http.site->conf->name, r->script ? r->script : "a script", (long long)reply->length);
    }
    if (bad >= 0 && put_last(x, &parts, &everything) != 0) {
        bad = -1;
    }
    buf_free(&top);
    reply->state = REPLY_DONE;
    reply->cut = bad != 0;
    give_back(x, everything && !bad && !reply->close);
}

void reply_done(struct request *r)
{
    struct exchange *x = exchange_of_request(r);
    if (!atomic_load(&x->handover.ended)) {
        reply_finish(r);
    }
    exchange_done(x);
}

/* An error in the place of a response whose head has not left. */
static void reply_error(struct exchange *x, int status)
{
    struct request *r = &x->request;
    static const struct header_line type = {"Content-Type: text/html; charset=utf-8", 38, 12};
    struct response_head head = {.status = status, .lines = &type, .count = 1};
    char text[160];
    reply_reset(&x->reply);
    if (reply_head_take(r, &head) == 0) {
        if (status == 503) {
            buf_str(&x->reply.lines, STR("Retry-After: 1\r\n"));
        }
        reply_write(r, text, error_text(status, text, sizeof text));
    }
    reply_finish(r);
}

void reply_expired(struct request *r)
{
    struct exchange *x = exchange_of_request(r);
    log_limited(LEVEL_WARNING, "http: a request waited too long for a worker and was answered with 503");
    atomic_fetch_add_explicit(&x->loop->front->rejected, 1, memory_order_relaxed);
    reply_error(x, 503);
    exchange_drop(x);
}

static void reply_abandon(struct request *r, int status, bool locked)
{
    struct exchange *x = exchange_of_request(r);
    if (!locked && reply_writes(x)) {
        /* The worker may be inside a write: the descriptor stays its own, and the connection with it. */
        atomic_store(&x->handover.gone, true);
        shutdown(x->handover.fd, SHUT_RDWR);
        atomic_fetch_add(&x->loop->front->written_off, 1);
        return;
    }
    bool head_left = x->reply.state == REPLY_STREAM || x->reply.state == REPLY_DONE;
    if (locked && !head_left && !reply_is_gone(x)) {
        reply_error(x, status);
        return;
    }
    x->reply.cut = true;
    give_back(x, false);
}

const struct request_io reply_io = {
    .read_body = reply_read_body,
    .send_head = reply_head_take,
    .send_interim = reply_head_interim,
    .write = reply_write,
    .flush = reply_flush,
    .finish = reply_finish,
    .abandon = reply_abandon,
    .settled = accounting_settled,
};
