/* HTTP/2 streams: from a complete head to a request, and from an answer to frames. Loop thread only.
 *
 * Streams are exchanges in the connection's list; nghttp2 knows each as its stream's user data. An exchange
 * stays in the list, and counts as running, until its worker is done, also when the client has reset the
 * stream: so resetting buys no more work than the limit of streams. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "http/answer/accounting.h"
#include "http/answer/answer.h"
#include "http/proto/h2_conn.h"
#include "http/proto/h2_private.h"
#include "http/wire/h1_parse.h"
#include "http/wire/wire.h"

#define OWN_LINES 4 /* of an answer, beside its fields: status, date, server, length */

/* -- streams -- */

void h2_stream_link(struct h2_conn *h2, struct exchange *x)
{
    x->delivery.stream_next = h2->streams;
    x->delivery.stream_prev = NULL;
    if (h2->streams) {
        h2->streams->delivery.stream_prev = x;
    }
    h2->streams = x;
    h2->open++;
}

void h2_stream_unlink(struct conn *c, struct exchange *x)
{
    struct h2_conn *h2 = c->h2;
    if (x->delivery.stream_prev) {
        x->delivery.stream_prev->delivery.stream_next = x->delivery.stream_next;
    } else {
        h2->streams = x->delivery.stream_next;
    }
    if (x->delivery.stream_next) {
        x->delivery.stream_next->delivery.stream_prev = x->delivery.stream_prev;
    }
    if (x->delivery.running) {
        x->delivery.running = false;
        h2->running--;
    }
    c->idle_since_us = c->loop->now_us;
}

void h2_stream_finish(struct conn *c, struct exchange *x)
{
    h2_stream_unlink(c, x);
    x->delivery.conn = NULL;
    chunk_clear(&x->delivery.out); /* of a stream that was reset: each piece holds a reference */
    accounting_left(x, x->delivery.whole);
    exchange_drop(x);
}

void h2_stream_reset(struct conn *c, struct exchange *x, uint32_t code)
{
    if (!x->delivery.stream_closed) {
        nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, x->delivery.stream_id, code);
    }
}

/* -- responses -- */

/* How much of it the next DATA frame has. Its bytes are taken when the frame is written, see
 * h2_stream_write_data(). */
static ssize_t read_response(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                             nghttp2_data_source *source, void *ctx)
{
    struct exchange *x = source->ptr;
    bool complete = x->delivery.answer || x->delivery.out_end;
    (void)session;
    (void)id;
    (void)buf;
    (void)ctx;
    if (x->delivery.out.n == 0 && !complete) {
        x->delivery.deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (x->delivery.out.n == 0 && x->delivery.out_cut) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (n >= x->delivery.out.n) {
        n = x->delivery.out.n;
        *flags |= complete && !x->delivery.out_cut ? NGHTTP2_DATA_FLAG_EOF : 0;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return (ssize_t)n;
}

int h2_stream_write_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                         nghttp2_data_source *source, void *ctx)
{
    struct exchange *x = source->ptr;
    struct conn *c = ctx;
    struct h2_conn *h2 = c->h2;
    (void)session;
    (void)frame;
    if (h2->batch_n >= h2->batch_most) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    char *at = c->loop->scratch_out + h2->batch_n;
    memcpy(at, head, H2_FRAME_HEAD);
    if (chunk_peek(&x->delivery.out, at + H2_FRAME_HEAD, n) != (ssize_t)n) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* a file that shrank */
    }
    chunk_taken(&x->delivery.out, n);
    h2->batch_n += H2_FRAME_HEAD + n;
    x->delivery.wire += n;
    x->delivery.progress_us = c->loop->now_us;
    h2_guard_sent(&h2->guard, n, x->delivery.out.n == 0);
    return 0;
}

static void add_nv(nghttp2_nv *nv, size_t *count, struct str name, struct str value)
{
    nv[(*count)++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n,
                                  value.n, NGHTTP2_NV_FLAG_NONE};
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
    bool body = !x->http.head_only && wire_has_body(status);
    int bad;
    if (status < 200) {
        bad = nghttp2_submit_headers(c->h2->session, NGHTTP2_FLAG_NONE, x->delivery.stream_id, NULL, nv,
                                     count, NULL);
    } else {
        x->delivery.head_out = true;
        x->delivery.deferred = false;
        x->delivery.progress_us = c->loop->now_us;
        bad = nghttp2_submit_response(c->h2->session, x->delivery.stream_id, nv, count,
                                      body ? &provider : NULL);
    }
    if (bad) {
        h2_stream_reset(c, x, NGHTTP2_INTERNAL_ERROR);
    }
}

/* nv has room for one line more than there are. */
static size_t add_lines(nghttp2_nv *nv, size_t count, char *lines, size_t n)
{
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
    return count;
}

static size_t count_lines(const char *p, size_t n)
{
    size_t count = 0;
    for (const char *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) {
        count++;
    }
    return count;
}

static void take_head(struct conn *c, struct exchange *x, int status, char *lines, size_t n)
{
    size_t count = 0;
    char code[3];
    if (x->delivery.stream_closed || c->closing) {
        return;
    }
    nghttp2_nv *nv = malloc((count_lines(lines, n) + 2) * sizeof *nv);
    if (nv) {
        wire_status_code(code, status);
        add_nv(nv, &count, STR(":status"), (struct str){code, 3});
        submit_head(c, x, status, nv, add_lines(nv, count, lines, n));
        free(nv);
    } else {
        h2_stream_reset(c, x, NGHTTP2_INTERNAL_ERROR);
    }
    loop_again(c->loop, c);
}

static bool add_pieces(struct exchange *x)
{
    for (size_t i = 0; i < x->delivery.answer->piece_count; i++) {
        const struct http_piece *piece = &x->delivery.answer->pieces[i];
        struct chunk *chunk = arena_alloc(x->arena, sizeof *chunk);
        if (!chunk) {
            return false;
        }
        if (piece->n > 0) {
            *chunk = (struct chunk){.p = piece->p, .n = piece->n, .fd = piece->fd, .offset = piece->offset};
            chunk_add(&x->delivery.out, chunk);
        }
    }
    return true;
}

void h2_stream_answer(struct conn *c, struct exchange *x)
{
    const struct http_answer *answer = x->delivery.answer;
    size_t count = 0;
    char code[3], length[STR_U64_MAX];
    answer_seal(x);
    size_t most = answer->field_count + count_lines(answer->lines.p, answer->lines.n) + OWN_LINES;
    nghttp2_nv *nv = arena_alloc(x->arena, most * sizeof *nv);
    if (!nv) {
        h2_stream_reset(c, x, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    wire_status_code(code, answer->status);
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
    count = add_lines(nv, count, (char *)(uintptr_t)answer->lines.p, answer->lines.n);
    if (wire_has_body(answer->status)) {
        size_t n = str_put_u64(length, answer->body_n);
        add_nv(nv, &count, STR("content-length"), (struct str){length, n});
    }
    if (!answer->no_body && !x->http.head_only && wire_has_body(answer->status) && !add_pieces(x)) {
        h2_stream_reset(c, x, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    x->delivery.out_end = true;
    submit_head(c, x, answer->status, nv, count);
}

void h2_stream_error(struct conn *c, struct exchange *x, int status)
{
    x->delivery.unwanted = true; /* whatever else it sends */
    answer_error(x, status);
    h2_stream_answer(c, x);
}

static void take_news(struct conn *c, struct exchange *x)
{
    if (x->delivery.out_end && x->delivery.running) {
        x->delivery.running = false;
        c->h2->running--;
    }
    if (x->delivery.stream_closed) {
        chunk_clear(&x->delivery.out);
        if (x->delivery.out_end) {
            h2_stream_finish(c, x);
        }
        return;
    }
    if (x->delivery.out_end && !x->delivery.head_out) {
        if (x->reply.file && !x->delivery.out_cut) {
            answer_script_file(x);
            h2_stream_answer(c, x);
        } else {
            h2_stream_reset(c, x, NGHTTP2_INTERNAL_ERROR);
        }
    } else if (x->delivery.deferred) {
        x->delivery.deferred = false;
        x->delivery.progress_us = c->loop->now_us;
        nghttp2_session_resume_data(c->h2->session, x->delivery.stream_id);
    }
    loop_again(c->loop, c);
}

static void take_verdict(struct conn *c, struct exchange *x);

const struct delivery_protocol h2_delivery = {.head = take_head, .news = take_news, .decided = take_verdict};

/* -- requests -- */

void h2_stream_submit(struct conn *c, struct exchange *x)
{
    if (intake_submit(x) != 0) {
        h2_stream_answer(c, x);
        return;
    }
    x->delivery.running = true;
    c->h2->running++;
}

void h2_stream_body_complete(struct conn *c, struct exchange *x)
{
    if (!x->delivery.body_done) {
        x->delivery.body_done = true;
        bool asked = x->http.password == PASSWORD_ASKED;
        if (!x->delivery.unwanted && !x->delivery.head_out && !x->delivery.submitted && !asked) {
            h2_stream_submit(c, x);
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

static void add_cookie(struct exchange *x, struct http_head *head, const struct buf *cookie)
{
    struct str value = {cookie->n ? arena_dup(x->arena, cookie->p, cookie->n) : NULL, cookie->n};
    if (value.p && head->field_count < HTTP_MAX_FIELDS) {
        head->fields[head->field_count++] = (struct http_field){STR("cookie"), value};
    } else if (cookie->n) {
        x->delivery.too_large = true;
    }
}

static void go_on(struct conn *c, struct exchange *x)
{
    nghttp2_nv nv[1];
    size_t count = 0;
    add_nv(nv, &count, STR(":status"), STR("100"));
    submit_head(c, x, 100, nv, count);
}

/* Its head is judged. end: its body is complete. */
static void go_by(struct conn *c, struct exchange *x, const struct http_head *head,
                  enum intake_verdict verdict, bool end)
{
    x->delivery.body_done |= end && verdict == INTAKE_ASKED;
    if (verdict == INTAKE_SCRIPT && head->content_length > x->http.site->settings->max_body_size) {
        h2_stream_error(c, x, 413);
    } else if (verdict == INTAKE_ANSWER) {
        x->delivery.unwanted = true;
        h2_stream_answer(c, x);
    } else if (verdict == INTAKE_ASKED) {
        return;
    } else if (end) {
        h2_stream_body_complete(c, x);
    } else {
        const struct http_field *expect = http_head_find(head, STR("expect"));
        if (expect && str_ieq(expect->value, STR("100-continue"))) {
            go_on(c, x);
        }
    }
}

void h2_stream_begin(struct conn *c, struct exchange *x, bool end)
{
    struct http_head *head = c->h2->head;
    x->http.h2 = true;
    x->request.proto = 2000;
    head->proto = 2000;
    head->tls = c->tls != NULL;
    pool_count_event(c->loop->front->pool, EVENT_H2_STREAM);
    x->delivery.progress_us = c->loop->now_us;
    add_cookie(x, head, &c->h2->cookie);
    if (x->delivery.too_large) {
        h2_stream_error(c, x, 431);
        return;
    }
    if (str_eq(head->method, STR("CONNECT")) || !head->target.p || !check_head(head, end)) {
        h2_stream_error(c, x, head->target.p && head->target.n > H1_MAX_TARGET ? 414 : 400);
        return;
    }
    add_host(head);
    go_by(c, x, head, intake_head(x, head), end);
}

static void take_verdict(struct conn *c, struct exchange *x)
{
    if (x->delivery.unwanted || x->delivery.stream_closed) {
        return; /* its body was too large, or its client has left */
    }
    bool whole = x->delivery.body_done;
    x->delivery.body_done = false;
    go_by(c, x, x->http.head, intake_again(x), whole);
    loop_again(c->loop, c);
}
