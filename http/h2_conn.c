/* HTTP/2 on a connection, framed by nghttp2 (used here and nowhere else). Loop thread only.
 *
 * Streams are exchanges in the connection's list; nghttp2 knows each as its stream's user data. An exchange
 * stays in the list, and counts as running, until its worker is done, also when the client has reset the
 * stream: so resetting buys no more work than the limit of streams. What the client may cost us beside that
 * is bounded by its budget (h2_guard.h). */
#include "http/h2_conn.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/base64.h"
#include "http/h1_parse.h"
#include "http/h2_guard.h"
#include "http/static.h"
#include "http/wire.h"

#define STREAM_WINDOW  (256 << 10)
#define CONN_WINDOW    (1 << 20)
#define BODY_IN_MEMORY (128u << 10) /* of each stream, whatever http.body_buffer allows */
#define BATCH          (64u << 10)  /* frames gathered for one write */
#define FRAME_MAX      (17u << 10)
#define LINES_MAX      256 /* head lines of a response */
#define TINY_DATA      64
#define DRAIN_NOTICE   (1 * CLOCK_US_PER_SECOND)
#define SECONDS(n)     ((uint64_t)(n)*CLOCK_US_PER_SECOND)

struct h2_conn {
    nghttp2_session *session;
    struct exchange *streams;
    unsigned running;       /* exchanges with workers, closed streams' included */
    struct http_head *head; /* of the header block that is being received; NULL between */
    uint64_t head_since_us;
    struct h2_guard guard;
    char *unsent; /* frames that the socket did not take yet */
    size_t unsent_at, unsent_n;
    const char *killed; /* why the connection ends at once, NULL = it does not */
    bool settings_seen, noticed, went_away;
    uint64_t notice_us;
};

static const struct http_settings *settings_of(const struct conn *c)
{
    return c->loop->front->settings;
}

/* -- streams -- */

static void link_stream(struct h2_conn *h2, struct exchange *x)
{
    x->stream_next = h2->streams;
    x->stream_prev = NULL;
    if (h2->streams) {
        h2->streams->stream_prev = x;
    }
    h2->streams = x;
}

static void unlink_stream(struct conn *c, struct exchange *x)
{
    struct h2_conn *h2 = c->h2;
    if (x->stream_prev) {
        x->stream_prev->stream_next = x->stream_next;
    } else {
        h2->streams = x->stream_next;
    }
    if (x->stream_next) {
        x->stream_next->stream_prev = x->stream_prev;
    }
    if (x->running) {
        x->running = false;
        h2->running--;
    }
    c->idle_since_us = c->loop->now_us;
}

static void finish_stream(struct conn *c, struct exchange *x)
{
    unlink_stream(c, x);
    x->conn = NULL;
    exchange_drop(x);
}

/* The connection is not worth going on with: its budget is used up. */
static int kill_conn(struct conn *c, const char *why)
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

static int pay(struct conn *c, enum h2_cost cost, const char *what)
{
    return h2_guard_pay(&c->h2->guard, cost, c->loop->now_us) ? 0 : kill_conn(c, what);
}

static void reset_stream(struct conn *c, struct exchange *x, uint32_t code)
{
    if (!x->stream_closed) {
        nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, x->stream_id, code);
    }
}

/* -- responses -- */

static ssize_t read_response(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                             nghttp2_data_source *source, void *ctx)
{
    struct exchange *x = source->ptr;
    struct conn *c = ctx;
    bool complete = x->answer || x->out_end;
    (void)session;
    (void)id;
    if (x->out.n == 0 && !complete) {
        x->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (x->out.n == 0 && x->out_cut) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    ssize_t got = chunk_peek(&x->out, (char *)buf, n);
    if (got < 0) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    chunk_taken(&x->out, (size_t)got);
    x->progress_us = c->loop->now_us;
    h2_guard_earn(&c->h2->guard, (size_t)got);
    if (x->out.n == 0 && complete && !x->out_cut) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return got;
}

static void add_nv(nghttp2_nv *nv, size_t *count, struct str name, struct str value)
{
    if (*count < LINES_MAX) {
        nv[(*count)++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n,
                                      value.n, NGHTTP2_NV_FLAG_NONE};
    }
}

static void lower(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z') {
            p[i] = (char)(p[i] | 0x20);
        }
    }
}

static void submit_head(struct conn *c, struct exchange *x, int status, nghttp2_nv *nv, size_t count)
{
    nghttp2_data_provider provider = {.source.ptr = x, .read_callback = read_response};
    bool body = !x->head_only && wire_has_body(status);
    int bad;
    if (status < 200) {
        bad = nghttp2_submit_headers(c->h2->session, NGHTTP2_FLAG_NONE, x->stream_id, NULL, nv, count, NULL);
    } else {
        x->head_out = true;
        x->deferred = false;
        x->progress_us = c->loop->now_us;
        bad = nghttp2_submit_response(c->h2->session, x->stream_id, nv, count, body ? &provider : NULL);
    }
    if (bad) {
        reset_stream(c, x, NGHTTP2_INTERNAL_ERROR);
    }
}

void h2_conn_head(struct conn *c, struct exchange *x, int status, char *lines, size_t n)
{
    nghttp2_nv nv[LINES_MAX];
    size_t count = 0;
    char code[12];
    if (x->stream_closed || c->closing) {
        return;
    }
    snprintf(code, sizeof code, "%03d", status);
    add_nv(nv, &count, STR(":status"), (struct str){code, 3});
    struct str rest = {lines, n}, line;
    while (rest.p && rest.n && str_split(&rest, '\n', &line)) {
        const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
        if (!colon) {
            continue;
        }
        size_t name_n = (size_t)(colon - line.p);
        lower(lines + (line.p - lines), name_n);
        size_t value_n = line.n - name_n - 1;
        if (value_n && line.p[line.n - 1] == '\r') {
            value_n--;
        }
        add_nv(nv, &count, (struct str){line.p, name_n}, str_trim((struct str){colon + 1, value_n}));
    }
    submit_head(c, x, status, nv, count);
    loop_again(c->loop, c);
}

static bool add_pieces(struct exchange *x)
{
    for (size_t i = 0; i < x->answer->piece_count; i++) {
        const struct http_piece *piece = &x->answer->pieces[i];
        struct chunk *chunk = arena_alloc(x->arena, sizeof *chunk);
        if (!chunk) {
            return false;
        }
        if (piece->n > 0) {
            *chunk = (struct chunk){.p = piece->p, .n = piece->n, .fd = piece->fd, .offset = piece->offset};
            chunk_add(&x->out, chunk);
        }
    }
    return true;
}

static void send_answer(struct conn *c, struct exchange *x)
{
    const struct http_answer *answer = x->answer;
    nghttp2_nv nv[LINES_MAX];
    size_t count = 0;
    char code[12], length[24];
    intake_seal(x);
    snprintf(code, sizeof code, "%03d", answer->status);
    add_nv(nv, &count, STR(":status"), (struct str){code, 3});
    struct str date = wire_date();
    add_nv(nv, &count, STR("date"), (struct str){date.p + 6, date.n - 8});
    add_nv(nv, &count, STR("server"), STR("tokiophp"));
    for (size_t i = 0; i < answer->field_count; i++) {
        struct str name = answer->fields[i].name;
        char *copy = arena_dup(x->arena, name.p, name.n);
        if (copy) {
            lower(copy, name.n);
            add_nv(nv, &count, (struct str){copy, name.n}, answer->fields[i].value);
        }
    }
    if (wire_has_body(answer->status)) {
        int n = snprintf(length, sizeof length, "%llu", (unsigned long long)answer->body_n);
        add_nv(nv, &count, STR("content-length"), (struct str){length, (size_t)n});
    }
    if (!answer->no_body && !x->head_only && wire_has_body(answer->status) && !add_pieces(x)) {
        reset_stream(c, x, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    x->out_end = true;
    submit_head(c, x, answer->status, nv, count);
}

static void send_error(struct conn *c, struct exchange *x, int status)
{
    x->unwanted = true; /* whatever else it sends */
    intake_error(x, status);
    send_answer(c, x);
}

/* A script answered with a file. */
static void send_file(struct conn *c, struct exchange *x)
{
    intake_error(x, 404);
    if (x->head && x->reply.file[0]) {
        memset(x->answer, 0, sizeof *x->answer);
        static_answer(c->loop->front->files, x->head, str_of(x->reply.file), x->arena, x->answer);
        intake_script_lines(x);
    }
    send_answer(c, x);
}

void h2_conn_message(struct conn *c, struct exchange *x)
{
    if (x->out_end && x->running) {
        x->running = false;
        c->h2->running--;
    }
    if (x->stream_closed) {
        chunk_clear(&x->out);
        if (x->out_end) {
            finish_stream(c, x);
        }
        return;
    }
    if (x->out_end && !x->head_out) {
        if (x->reply.file && !x->out_cut) {
            send_file(c, x);
        } else {
            reset_stream(c, x, NGHTTP2_INTERNAL_ERROR);
        }
    } else if (x->deferred) {
        x->deferred = false;
        x->progress_us = c->loop->now_us;
        nghttp2_session_resume_data(c->h2->session, x->stream_id);
    }
    loop_again(c->loop, c);
}

/* -- requests -- */

static void submit(struct conn *c, struct exchange *x)
{
    if (intake_submit(x) != 0) {
        send_answer(c, x);
        return;
    }
    x->running = true;
    c->h2->running++;
}

static void body_complete(struct conn *c, struct exchange *x)
{
    if (!x->body_done) {
        x->body_done = true;
        if (!x->unwanted && !x->head_out && !x->submitted) {
            submit(c, x);
        }
    }
}

/* What nghttp2 leaves to its user: false = malformed. */
static bool check_head(struct http_head *head, bool end)
{
    const struct http_field *host = http_head_find(head, STR("host"));
    const struct http_field *length = http_head_find(head, STR("content-length"));
    uint64_t n;
    if (head->host.p && host && !str_ieq(head->host, host->value)) {
        return false;
    }
    if (!head->host.p && host) {
        head->host = host->value;
    }
    if (!head->host.p || !h1_parse_host_ok(head->host) || !h1_parse_token(head->method) ||
        head->method.n > 32) {
        return false;
    }
    bool star = str_eq(head->target, STR("*"));
    if (!h1_parse_target(head->target, head) || (head->target.p[0] != '/' && !star) ||
        (star && !str_eq(head->method, STR("OPTIONS")))) {
        return false;
    }
    head->content_length = end ? 0 : -1;
    if (length && !end) {
        if (!str_to_u64(length->value, &n) || n > INT64_MAX / 2) {
            return false;
        }
        head->content_length = (int64_t)n;
    }
    return true;
}

/* PHP knows the host as HTTP_HOST, also when it came as :authority. */
static void add_host(struct http_head *head)
{
    if (!http_head_find(head, STR("host")) && head->field_count < HTTP_MAX_FIELDS) {
        head->fields[head->field_count++] = (struct http_field){STR("host"), head->host};
    }
}

static void go_on(struct conn *c, struct exchange *x)
{
    nghttp2_nv nv[1];
    size_t count = 0;
    add_nv(nv, &count, STR(":status"), STR("100"));
    submit_head(c, x, 100, nv, count);
}

static void begin_stream(struct conn *c, struct exchange *x, bool end)
{
    struct http_head *head = c->h2->head;
    x->h2 = true;
    x->request.proto = 2000;
    head->proto = 2000;
    head->tls = c->tls != NULL;
    pool_count_event(c->loop->front->pool, EVENT_H2_STREAM);
    x->progress_us = c->loop->now_us;
    if (x->too_large) {
        send_error(c, x, 431);
        return;
    }
    if (str_eq(head->method, STR("CONNECT")) || !head->target.p || !check_head(head, end)) {
        send_error(c, x, head->target.p && head->target.n > H1_MAX_TARGET ? 414 : 400);
        return;
    }
    add_host(head);
    enum intake_verdict verdict = intake_head(x, head);
    if (verdict == INTAKE_SCRIPT && head->content_length > settings_of(c)->max_body_size) {
        send_error(c, x, 413);
    } else if (verdict == INTAKE_ANSWER) {
        x->unwanted = true;
        send_answer(c, x);
    } else if (end) {
        body_complete(c, x);
    } else {
        const struct http_field *expect = http_head_find(head, STR("expect"));
        if (expect && str_ieq(expect->value, STR("100-continue"))) {
            go_on(c, x);
        }
    }
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
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    if (h2->running >= (unsigned)settings_of(c)->h2_max_streams) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return pay(c, H2_COST_RESET, "too many streams are reset while they run");
    }
    if (!h2->head) {
        h2->head = malloc(sizeof *h2->head);
    }
    struct exchange *x = h2->head ? exchange_create(c->loop, c) : NULL;
    if (!x) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    h2->head->field_count = 0;
    h2->head->method = h2->head->target = h2->head->host = STR_NONE;
    x->stream_id = frame->hd.stream_id;
    link_stream(h2, x);
    nghttp2_session_set_stream_user_data(session, x->stream_id, x);
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

/* Bytes are counted as they are decoded: a small block can name a large list. */
static int count_header(struct conn *c, struct exchange *x, size_t n)
{
    size_t limit = (size_t)settings_of(c)->head_size;
    x->header_bytes += n + 32;
    if (x->header_bytes <= limit) {
        return 0;
    }
    if (!x->too_large) {
        x->too_large = true;
        return pay(c, H2_COST_TOO_LARGE, "header lists beyond the limit");
    }
    return x->header_bytes > 2 * limit ? kill_conn(c, "a header list far beyond the limit") : 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct conn *c = ctx;
    struct exchange *x = stream_of(session, frame->hd.stream_id);
    (void)flags;
    if (!x) {
        return pay(c, H2_COST_PRIORITY, "headers of refused streams");
    }
    int bad = count_header(c, x, name_n + value_n);
    if (bad || x->too_large || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return bad;
    }
    struct http_head *head = c->h2->head;
    struct str n = {arena_dup(x->arena, (const char *)name, name_n), name_n};
    struct str v = {arena_dup(x->arena, (const char *)value, value_n), value_n};
    if (!n.p || !v.p || head->field_count == HTTP_MAX_FIELDS) {
        x->too_large = true;
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
    case NGHTTP2_RST_STREAM: return pay(c, H2_COST_RESET, "a flood of stream resets");
    case NGHTTP2_PING: return pay(c, H2_COST_PING, "a flood of PING frames");
    case NGHTTP2_WINDOW_UPDATE: return pay(c, H2_COST_WINDOW_UPDATE, "a flood of WINDOW_UPDATE frames");
    case NGHTTP2_SETTINGS:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
            return 0;
        }
        c->h2->settings_seen = true;
        return pay(c, H2_COST_SETTINGS, "a flood of SETTINGS frames");
    case NGHTTP2_DATA:
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM || frame->hd.length >= TINY_DATA) {
            return 0;
        }
        return pay(c, frame->hd.length <= frame->data.padlen ? H2_COST_EMPTY : H2_COST_TINY_DATA,
                   "a flood of empty DATA frames");
    default: return 0;
    }
}

/* nghttp2 ignores PRIORITY frames, and tells of them only here. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    return hd->type == NGHTTP2_PRIORITY ? pay(ctx, H2_COST_PRIORITY, "a flood of PRIORITY frames") : 0;
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
        begin_stream(c, x, end);
    } else if (x && end) {
        body_complete(c, x);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    struct conn *c = ctx;
    struct exchange *x = stream_of(session, id);
    const struct http_settings *settings = settings_of(c);
    (void)flags;
    if (x && !x->unwanted && !x->submitted) {
        size_t limit =
            (size_t)settings->body_buffer < BODY_IN_MEMORY ? (size_t)settings->body_buffer : BODY_IN_MEMORY;
        x->progress_us = c->loop->now_us;
        if (x->body.total + n > (uint64_t)settings->max_body_size) {
            send_error(c, x, 413);
        } else if (http_body_add(&x->body, (const char *)p, n, x->request.content_length, limit) != 0) {
            send_error(c, x, 503);
        }
    }
    nghttp2_session_consume(session, id, n); /* stored: the client may send as much again */
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct conn *c = ctx;
    struct exchange *x = stream_of(session, id);
    (void)code;
    if (!x) {
        return 0;
    }
    x->stream_closed = true;
    if (x->running) {
        exchange_abort(x);
        chunk_clear(&x->out);
        return 0;
    }
    finish_stream(c, x);
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *ctx)
{
    (void)session;
    (void)frame;
    (void)code;
    return pay(ctx, H2_COST_ERROR, "a flood of invalid frames");
}

/* A reset by us with the client at fault costs it; one because it sent more than we wanted does not. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct conn *c = ctx;
    (void)session;
    if (frame->hd.type != NGHTTP2_RST_STREAM || frame->rst_stream.error_code == NGHTTP2_NO_ERROR ||
        frame->rst_stream.error_code == NGHTTP2_INTERNAL_ERROR) {
        return 0;
    }
    pay(c, H2_COST_ERROR, "streams that had to be reset");
    return 0;
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
    return callbacks;
}

/* -- the connection -- */

static int make_session(struct conn *c, nghttp2_session **session)
{
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = NULL;
    int bad = !callbacks || nghttp2_option_new(&option) != 0;
    if (!bad) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, 100);
        nghttp2_option_set_max_settings(option, 32);
        bad = nghttp2_session_server_new2(session, callbacks, c, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return bad ? -1 : 0;
}

static int submit_settings(struct conn *c, nghttp2_session *session)
{
    const struct http_settings *s = settings_of(c);
    nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)s->h2_max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)s->head_size},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, entries, 4) != 0 ||
                   nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) != 0
               ? -1
               : 0;
}

static struct h2_conn *h2_create(struct conn *c)
{
    struct h2_conn *h2 = calloc(1, sizeof *h2);
    if (!h2) {
        return NULL;
    }
    if (make_session(c, &h2->session) != 0) {
        free(h2);
        return NULL;
    }
    h2_guard_init(&h2->guard, c->loop->now_us);
    c->h2 = h2; /* nghttp2 may call back at once */
    return h2;
}

static void h2_destroy(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    c->h2 = NULL;
    nghttp2_session_del(h2->session);
    free(h2->head);
    free(h2->unsent);
    free(h2);
}

static void become_h2(struct conn *c)
{
    c->deadline_us = 0;
    c->idle_since_us = c->loop->now_us;
    http_conn_become(c, &h2_protocol);
    loop_again(c->loop, c); /* our SETTINGS */
}

int h2_conn_start(struct conn *c)
{
    struct h2_conn *h2 = h2_create(c);
    if (!h2) {
        return -1;
    }
    if (submit_settings(c, h2->session) != 0) {
        h2_destroy(c);
        return -1;
    }
    become_h2(c);
    return 0;
}

int h2_conn_upgrade(struct conn *c, struct exchange *x, struct str settings)
{
    static const char switching[] =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    unsigned char payload[512];
    ssize_t n = base64url_decode(settings, payload, sizeof payload);
    struct h2_conn *h2 = n < 0 ? NULL : h2_create(c);
    if (!h2) {
        return -1;
    }
    if (nghttp2_session_upgrade2(h2->session, payload, (size_t)n, x->head_only, x) != 0 ||
        submit_settings(c, h2->session) != 0 || chunk_copy(&c->out, switching, sizeof switching - 1) != 0) {
        h2_destroy(c);
        return -1;
    }
    x->h2 = true;
    x->stream_id = 1;
    x->body_done = true;
    link_stream(h2, x);
    become_h2(c);
    if (x->answer) {
        send_answer(c, x);
    } else {
        submit(c, x);
    }
    return 0;
}

/* -- bytes -- */

static size_t gather_frames(struct conn *c)
{
    size_t n = 0;
    while (n < BATCH) {
        const uint8_t *p;
        ssize_t got = nghttp2_session_mem_send(c->h2->session, &p);
        if (got <= 0) {
            break;
        }
        memcpy(c->loop->scratch_out + n, p, (size_t)got);
        n += (size_t)got;
    }
    return n;
}

/* 0 = all sent, 1 = the rest waits, -1 = closed. */
static int send_frames(struct conn *c, const char *p, size_t n)
{
    struct h2_conn *h2 = c->h2;
    ssize_t done = http_conn_write(c, p, n);
    if (done < 0) {
        http_conn_close(c, "the client is gone");
        return -1;
    }
    if ((size_t)done == n) {
        return 0;
    }
    char *rest = malloc(n - (size_t)done);
    if (!rest) {
        http_conn_close(c, "out of memory");
        return -1;
    }
    memcpy(rest, p + done, n - (size_t)done);
    free(h2->unsent);
    h2->unsent = rest;
    h2->unsent_at = 0;
    h2->unsent_n = n - (size_t)done;
    return 1;
}

/* What did not go the last time. Same results. */
static int send_unsent(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    while (h2->unsent) {
        ssize_t done = http_conn_write(c, h2->unsent + h2->unsent_at, h2->unsent_n);
        if (done < 0) {
            http_conn_close(c, "the client is gone");
            return -1;
        }
        h2->unsent_at += (size_t)done;
        h2->unsent_n -= (size_t)done;
        if (h2->unsent_n > 0) {
            return 1;
        }
        free(h2->unsent);
        h2->unsent = NULL;
    }
    return 0;
}

static void h2_output(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    if (c->out.first && (http_conn_send(c) != 0 || c->out.first)) {
        return;
    }
    for (unsigned turns = 0; turns < 16; turns++) {
        if (send_unsent(c) != 0) {
            return;
        }
        size_t n = gather_frames(c);
        if (n == 0) {
            break;
        }
        if (send_frames(c, c->loop->scratch_out, n) != 0) {
            return;
        }
    }
    if (h2->killed || (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))) {
        http_conn_linger(c);
    } else if (nghttp2_session_want_write(h2->session) && c->writable && !h2->unsent) {
        loop_again(c->loop, c); /* others first */
    }
}

static bool h2_wants(struct conn *c)
{
    return !c->h2->killed && !c->h2->unsent; /* who does not read our frames may not send more */
}

static size_t h2_input(struct conn *c, const char *p, size_t n)
{
    ssize_t used = nghttp2_session_mem_recv(c->h2->session, (const uint8_t *)p, n);
    if (used == NGHTTP2_ERR_FLOODED) {
        kill_conn(c, "a flood of frames that have to be acknowledged");
    } else if (used < 0 && !c->h2->killed) {
        c->h2->killed = nghttp2_strerror((int)used);
        nghttp2_session_terminate_session(c->h2->session, NGHTTP2_PROTOCOL_ERROR);
    }
    h2_output(c);
    return n;
}

static void h2_eof(struct conn *c)
{
    if (!c->h2->streams && !c->h2->unsent) {
        http_conn_close(c, "closed by the client");
    }
}

/* -- time -- */

static void sweep_stream(struct conn *c, struct exchange *x)
{
    const struct http_settings *s = settings_of(c);
    uint64_t quiet = c->loop->now_us > x->progress_us ? c->loop->now_us - x->progress_us : 0;
    if (x->stream_closed) {
        return;
    }
    if (!x->body_done && !x->unwanted) {
        uint64_t allowed = SECONDS(s->body_timeout);
        if (s->body_rate_min > 0) {
            allowed += x->body.total * CLOCK_US_PER_SECOND / (uint64_t)s->body_rate_min;
        }
        if (quiet > SECONDS(s->body_timeout) ||
            (s->body_rate_min > 0 && c->loop->now_us - x->began_us > allowed)) {
            reset_stream(c, x, NGHTTP2_CANCEL);
        }
    } else if (x->head_out && !x->deferred && quiet > SECONDS(s->write_timeout)) {
        reset_stream(c, x, NGHTTP2_CANCEL);
    }
}

static void sweep_idle(struct conn *c)
{
    const struct http_settings *s = settings_of(c);
    uint64_t limit = SECONDS(c->h2->settings_seen ? s->idle_timeout : s->header_timeout);
    if (c->loop->now_us - c->idle_since_us > limit) {
        nghttp2_session_terminate_session(c->h2->session, NGHTTP2_NO_ERROR);
    }
    free(c->h2->head);
    c->h2->head = NULL;
}

/* GOAWAY in two steps (RFC 9113, 6.8): what is on its way to us is still served. */
static void sweep_drain(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    if (h2->noticed && !h2->went_away && c->loop->now_us - h2->notice_us > DRAIN_NOTICE) {
        h2->went_away = true;
        nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h2->session), NGHTTP2_NO_ERROR, NULL,
                              0);
    }
}

static void h2_sweep(struct conn *c)
{
    const struct http_settings *s = settings_of(c);
    struct h2_conn *h2 = c->h2;
    uint64_t now = c->loop->now_us;
    if (h2->unsent && now - c->progress_us > SECONDS(s->write_timeout)) {
        http_conn_close(c, "the client reads too slowly");
        return;
    }
    if (h2->head_since_us && now - h2->head_since_us > SECONDS(s->header_timeout)) {
        atomic_fetch_add_explicit(&c->loop->front->timeouts, 1, memory_order_relaxed);
        http_conn_close(c, "a header block that never ends");
        return;
    }
    for (struct exchange *x = h2->streams; x; x = x->stream_next) {
        sweep_stream(c, x);
    }
    if (!h2->streams && !h2->head_since_us) {
        sweep_idle(c);
    }
    sweep_drain(c);
    h2_output(c);
}

static void h2_drain(struct conn *c)
{
    nghttp2_submit_shutdown_notice(c->h2->session);
    c->h2->noticed = true;
    c->h2->notice_us = c->loop->now_us;
    loop_again(c->loop, c);
}

static void h2_leave(struct conn *c)
{
    struct h2_conn *h2 = c->h2;
    if (!h2) {
        return;
    }
    while (h2->streams) {
        struct exchange *x = h2->streams;
        unlink_stream(c, x);
        exchange_leave(x);
    }
    if (c->state == CONN_CLOSED) {
        h2_destroy(c);
    }
}

static bool h2_lent(const struct conn *c)
{
    (void)c;
    return false;
}

const struct conn_protocol h2_protocol = {
    .name = "HTTP/2",
    .wants = h2_wants,
    .input = h2_input,
    .eof = h2_eof,
    .output = h2_output,
    .sweep = h2_sweep,
    .drain = h2_drain,
    .leave = h2_leave,
    .lent = h2_lent,
};
