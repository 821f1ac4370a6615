/* What nghttp2 calls while it reads and writes frames, and what that costs the client: frames that give us no
 * work are paid from the connection's budget (h2_guard.h). Loop thread only. */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/proto/h2_private.h"
#include "http/wire/wire.h"

#define STREAM_WINDOW  (256 << 10)
#define CONN_WINDOW    (1 << 20)
#define BODY_IN_MEMORY (128u << 10)        /* of each stream, whatever http.body_buffer allows */
#define HEAD_BLOCK_MAX (8 * WIRE_HEAD_MAX) /* what nghttp2 reckons that WIRE_HEAD_MAX may become */

int h2_session_kill(struct conn *c, const char *why)
{
    if (!c->h2->killed) {
        char ip[64];
        sock_ip(&c->peer, ip, sizeof ip);
        c->h2->killed = why;
        atomic_fetch_add_explicit(&c->loop->front->floods, 1, memory_order_relaxed);
        pool_count_event(c->loop->front->pool, EVENT_H2_REFUSED);
        log_limited(LEVEL_WARNING, "http: HTTP/2 connection of %s closed: %s", ip, why);
        nghttp2_session_terminate_session(c->h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* The client breaks the protocol in a way that nghttp2 lets pass. */
static int fail(struct conn *c, uint32_t code, const char *why)
{
    if (!c->h2->killed) {
        c->h2->killed = why;
        nghttp2_session_terminate_session(c->h2->session, code);
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int h2_session_pay(struct conn *c, enum h2_cost cost, const char *what)
{
    return h2_guard_pay(&c->h2->guard, cost, c->loop->now_us) ? 0 : h2_session_kill(c, what);
}

/* -- nghttp2's callbacks -- */

static struct exchange *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct conn *c = ctx;
    struct h2_conn *h2 = c->h2;
    h2->head_since_us = c->loop->now_us;
    h2->refused_bytes = 0;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    if (frame->hd.stream_id > h2->last_id + 2) {
        h2->skipped_from = h2->last_id > 0 ? h2->last_id + 2 : 1;
        h2->skipped_to = frame->hd.stream_id - 2;
    }
    h2->last_id = frame->hd.stream_id;
    unsigned most = (unsigned)h2_settings_of(c)->h2_max_streams;
    if (h2->running >= most || h2->open >= most) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return h2_session_pay(c, H2_COST_REFUSED, "more streams than were announced");
    }
    if (!h2->head) {
        h2->head = malloc(sizeof *h2->head);
    }
    struct exchange *x = h2->head ? exchange_create(c) : NULL;
    if (!x) {
        h2->head_since_us = 0;
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    h2->head->field_count = 0;
    h2->cookie.n = 0;
    h2->head->method = h2->head->target = h2->head->host = STR_NONE;
    x->delivery.stream_id = frame->hd.stream_id;
    h2_stream_link(h2, x);
    nghttp2_session_set_stream_user_data(session, x->delivery.stream_id, x);
    return 0;
}

static void take_pseudo(struct http_head *head, struct str name, struct str value)
{
    if (str_eq(name, STR(":method"))) {
        head->method = value;
    } else if (str_eq(name, STR(":path"))) {
        head->target = value;
    } else if (str_eq(name, STR(":authority"))) {
        head->host = value;
    }
}

/* Bytes are counted as they are decoded: a small block can name a large list. x: NULL = a refused stream's.
 */
static int count_header(struct conn *c, struct exchange *x, size_t n) /* the RFC's 32 included */
{
    size_t limit = (size_t)h2_settings_of(c)->head_size;
    size_t *bytes = x ? &x->delivery.header_bytes : &c->h2->refused_bytes, before = *bytes;
    *bytes += n;
    if (*bytes <= limit) {
        return 0;
    }
    if (before <= limit) {
        if (x) {
            x->delivery.too_large = true;
        }
        return h2_session_pay(c, H2_COST_TOO_LARGE, "header lists beyond the limit");
    }
    return *bytes > 2 * limit ? h2_session_kill(c, "a header list far beyond the limit") : 0;
}

/* Crumbs are one field (RFC 9113, 8.2.3), which h2_stream.c takes when all of it is here. */
static void add_crumb(struct h2_conn *h2, struct exchange *x, struct str crumb)
{
    if (h2->cookie.n > 0) {
        buf_str(&h2->cookie, STR("; "));
    }
    buf_str(&h2->cookie, crumb);
    x->delivery.too_large |= h2->cookie.failed;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct conn *c = ctx;
    struct exchange *x = stream_of(session, frame->hd.stream_id);
    (void)flags;
    struct str plain = {(const char *)name, name_n};
    bool crumb = str_eq(plain, STR("cookie"));
    int bad = count_header(c, x, crumb && c->h2->cookie.n ? value_n + 2 : name_n + value_n + 32);
    if (bad || !x || x->delivery.too_large || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return bad;
    }
    if (crumb) {
        add_crumb(c->h2, x, (struct str){(const char *)value, value_n});
        return 0;
    }
    struct http_head *head = c->h2->head;
    struct str n = {arena_dup(x->arena, (const char *)name, name_n), name_n};
    struct str v = {arena_dup(x->arena, (const char *)value, value_n), value_n};
    if (!n.p || !v.p || head->field_count == HTTP_MAX_FIELDS) {
        x->delivery.too_large = true;
    } else if (name_n > 0 && name[0] == ':') {
        take_pseudo(head, n, v);
    } else {
        head->fields[head->field_count++] = (struct http_field){n, v};
    }
    return 0;
}

static int pay_for_frame(struct conn *c, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM: return h2_session_pay(c, H2_COST_RESET, "a flood of stream resets");
    case NGHTTP2_PING: return h2_session_pay(c, H2_COST_PING, "a flood of PING frames");
    case NGHTTP2_WINDOW_UPDATE:
        return h2_session_pay(c, H2_COST_WINDOW_UPDATE, "a flood of WINDOW_UPDATE frames");
    case NGHTTP2_SETTINGS:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
            return 0;
        }
        c->h2->settings_seen = true;
        return h2_session_pay(c, H2_COST_SETTINGS, "a flood of SETTINGS frames");
    case NGHTTP2_DATA: /* one that brings bytes is what a connection is for, however small it is */
        return frame->hd.flags & NGHTTP2_FLAG_END_STREAM || frame->hd.length > frame->data.padlen
                   ? 0
                   : h2_session_pay(c, H2_COST_EMPTY, "a flood of empty DATA frames");
    default: return 0;
    }
}

/* RFC 9113, 5.1: what comes behind a stream's end is an error of the connection, unless we have reset the
 * stream and the client could not know. nghttp2 has forgotten closed streams and ignores such frames. */
int h2_session_check(struct conn *c, int32_t id)
{
    const struct h2_conn *h2 = c->h2;
    if (id % 2 == 0 || id > h2->last_id || nghttp2_session_find_stream(h2->session, id)) {
        return 0;
    }
    if (id >= h2->skipped_from && id <= h2->skipped_to) {
        return fail(c, NGHTTP2_PROTOCOL_ERROR, "a stream is opened behind a later one");
    }
    return id <= h2->reset_id ? 0 : fail(c, NGHTTP2_STREAM_CLOSED, "a frame of a closed stream");
}

/* nghttp2 ignores PRIORITY frames, and tells of them only here. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    switch (hd->type) {
    case NGHTTP2_HEADERS: return h2_session_check(ctx, hd->stream_id);
    case NGHTTP2_PRIORITY:
        return hd->stream_id == 0 ? fail(ctx, NGHTTP2_PROTOCOL_ERROR, "PRIORITY of no stream")
                                  : h2_session_pay(ctx, H2_COST_PRIORITY, "a flood of PRIORITY frames");
    default: return 0;
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct conn *c = ctx;
    int bad = pay_for_frame(c, frame);
    if (bad || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) {
        return bad;
    }
    struct exchange *x = stream_of(session, frame->hd.stream_id);
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    bool request = frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        c->h2->head_since_us = 0;
    }
    if (x && request) {
        h2_stream_begin(c, x, end);
    } else if (x && end) {
        h2_stream_body_complete(c, x);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    struct conn *c = ctx;
    struct exchange *x = stream_of(session, id);
    (void)flags;
    if (x && !x->delivery.unwanted && !x->delivery.submitted) {
        const struct http_settings *settings = x->http.site->settings;
        size_t limit =
            (size_t)settings->body_buffer < BODY_IN_MEMORY ? (size_t)settings->body_buffer : BODY_IN_MEMORY;
        x->delivery.progress_us = c->loop->now_us;
        h2_guard_received(&c->h2->guard, n);
        if (x->http.body.total + n > (uint64_t)settings->max_body_size) {
            h2_stream_error(c, x, 413);
        } else if (http_body_add(&x->http.body, (const char *)p, n, x->request.content_length, limit) != 0) {
            h2_stream_error(c, x, 503);
        }
    }
    nghttp2_session_consume(session, id, n); /* stored: the client may send as much again */
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct conn *c = ctx;
    struct exchange *x = stream_of(session, id);
    if (!x) {
        return 0;
    }
    x->delivery.stream_closed = true;
    c->h2->open--;
    x->delivery.whole = code == NGHTTP2_NO_ERROR && x->delivery.head_out && x->delivery.out_end &&
                        !x->delivery.out_cut && x->delivery.out.n == 0;
    if (x->delivery.whole) {
        h2_guard_answered(&c->h2->guard);
    }
    if (x->http.password == PASSWORD_ASKED) {
        delivery_abort(x); /* nobody need look at it any more */
    }
    if (x->delivery.running) {
        delivery_abort(x);
        chunk_clear(&x->delivery.out);
        return 0;
    }
    h2_stream_finish(c, x);
    return 0;
}

/* One of a header block is the block's end to us: on_frame() is not called for it, and what may still come of
 * it is read by nghttp2 alone. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *ctx)
{
    struct conn *c = ctx;
    (void)session;
    (void)code;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        c->h2->head_since_us = 0;
    }
    return h2_session_pay(c, H2_COST_ERROR, "a flood of invalid frames");
}

/* A reset by us with the client at fault costs it; one because it sent more than we wanted does not. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct conn *c = ctx;
    bool data = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (data && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        /* The answer is complete, and the client still sends: it need not (RFC 9113, 8.1). */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->hd.stream_id > c->h2->reset_id) {
        c->h2->reset_id = frame->hd.stream_id;
    }
    if (frame->hd.type != NGHTTP2_RST_STREAM || frame->rst_stream.error_code == NGHTTP2_NO_ERROR ||
        frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM || /* paid when it came */
        frame->rst_stream.error_code == NGHTTP2_INTERNAL_ERROR) {
        return 0;
    }
    h2_session_pay(c, H2_COST_ERROR, "streams that had to be reset");
    return 0;
}

static ssize_t data_length(nghttp2_session *session, uint8_t type, int32_t id, int32_t session_window,
                           int32_t stream_window, uint32_t largest_frame, void *ctx)
{
    int32_t window = session_window < stream_window ? session_window : stream_window;
    int32_t most = largest_frame < H2_DATA_MOST ? (int32_t)largest_frame : H2_DATA_MOST;
    (void)session;
    (void)type;
    (void)id;
    (void)ctx;
    return window < most ? window : most;
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return NULL;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, h2_stream_write_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, data_length);
    return callbacks;
}

int h2_session_create(struct conn *c, nghttp2_session **session)
{
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = NULL;
    int bad = !callbacks || nghttp2_option_new(&option) != 0;
    if (!bad) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, 100);
        nghttp2_option_set_max_settings(option, 32);
#ifdef HAVE_NGHTTP2_RESET_LIMIT
        /* The budget bounds them: it knows what else the client does, nghttp2 does not. */
        nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
#endif
        nghttp2_option_set_max_send_header_block_length(option, HEAD_BLOCK_MAX);
        bad = nghttp2_session_server_new2(session, callbacks, c, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return bad ? -1 : 0;
}

int h2_session_settings(struct conn *c, nghttp2_session *session)
{
    const struct http_settings *s = h2_settings_of(c);
    nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)s->h2_max_streams + H2_BUDGET},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)s->head_size},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, entries, 4) != 0 ||
                   nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) != 0
               ? -1
               : 0;
}

/* nghttp2 ends the connection of a client that opens more streams than it was told to; we refuse the stream
 * (RFC 9113, 5.1.2). So nghttp2 believes that more are allowed, as many as the budget has for refusals. */
void h2_session_announce(struct conn *c, char *frame, size_t n)
{
    enum { HEAD = 9, ENTRY = 6 };
    uint32_t most = (uint32_t)h2_settings_of(c)->h2_max_streams;
    c->h2->announced = true;
    for (size_t at = HEAD; frame[3] == NGHTTP2_SETTINGS && at + ENTRY <= n; at += ENTRY) {
        if (frame[at] == 0 && frame[at + 1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) {
            for (int i = 0; i < 4; i++) {
                frame[at + 2 + (size_t)i] = (char)(most >> (24 - 8 * i));
            }
        }
    }
}
