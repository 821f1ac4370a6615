/* HTTP/2 with several requests at once on a connection; framed by nghttp2. */
#include "load.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 64

struct stream {
    int32_t id; /* 0 = free */
    uint64_t question;
    int status;
    bool ended;
    char body[BODY_MAX];
    size_t body_n;
};

struct h2 {
    nghttp2_session *session;
    struct stream streams[STREAMS_MAX];
};

static struct stream *find(struct conn *c, int32_t id)
{
    struct h2 *h = c->state;
    for (int i = 0; i < STREAMS_MAX; i++) {
        if (h->streams[i].id == id) {
            return &h->streams[i];
        }
    }
    return NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct stream *s = find(ctx, frame->hd.stream_id);
    (void)session;
    (void)flags;
    if (s && name_n == 7 && value_n == 3 && memcmp(name, ":status", 7) == 0) {
        s->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    struct stream *s = find(ctx, id);
    (void)session;
    (void)flags;
    if (s) {
        size_t room = BODY_MAX - s->body_n;
        memcpy(s->body + s->body_n, p, n < room ? n : room);
        s->body_n += n < room ? n : room;
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct conn *c = ctx;
    struct stream *s = find(c, frame->hd.stream_id);
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        c->leaving = true;
    } else if (s && frame->hd.stream_id && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
               (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)) {
        s->ended = true;
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct conn *c = ctx;
    struct stream *s = find(c, id);
    (void)session;
    if (!s) {
        return 0;
    }
    if (code == NGHTTP2_REFUSED_STREAM) {
        load_refused(c, s->question);
    } else {
        load_answered(c, s->question, s->ended ? s->status : 0, s->body, s->body_n);
    }
    s->id = 0;
    c->leaving |= options.close;
    return 0;
}

static bool begin(struct conn *c)
{
    nghttp2_session_callbacks *callbacks;
    struct h2 *h = calloc(1, sizeof *h);
    c->state = h;
    if (!h || nghttp2_session_callbacks_new(&callbacks) != 0) {
        return false;
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    int bad = nghttp2_session_client_new(&h->session, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    return bad == 0 && nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, NULL, 0) == 0;
}

static void end(struct conn *c)
{
    struct h2 *h = c->state;
    nghttp2_session_del(h->session);
    free(h);
    c->state = NULL;
}

static bool gather(struct conn *c)
{
    const struct h2 *h = c->state;
    const uint8_t *p;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(h->session, &p)) > 0) {
        buf_add(&c->out, (const char *)p, (size_t)n);
    }
    c->out_stop = c->out.n;
    return n == 0;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

static void ask(struct conn *c)
{
    const struct h2 *h = c->state;
    const struct question *q = load_question(c);
    char target[512];
    snprintf(target, sizeof target, "%s?%llu", options.path, (unsigned long long)q->id);
    const nghttp2_nv fields[] = {field(":method", "GET"), field(":scheme", "http"),
                                 field(":authority", options.host), field(":path", target)};
    struct stream *s = find(c, 0);
    *s = (struct stream){.question = q->id};
    int32_t id = nghttp2_submit_request(h->session, NULL, fields, 4, NULL, NULL);
    if (id > 0) {
        s->id = id;
    } else {
        load_refused(c, q->id); /* after a GOAWAY */
        c->leaving = true;
    }
    gather(c);
}

static bool take(struct conn *c, const char *p, size_t n)
{
    const struct h2 *h = c->state;
    return nghttp2_session_mem_recv(h->session, (const uint8_t *)p, n) >= 0 && gather(c);
}

const struct protocol h2_protocol = {"h2", false, true, begin, ask, take, end};
const struct protocol h2s_protocol = {"h2s", true, true, begin, ask, take, end};
