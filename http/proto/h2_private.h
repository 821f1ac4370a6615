/* What the three files of an HTTP/2 connection share: h2_conn.c moves bytes and watches time, h2_session.c is
 * what nghttp2 calls, h2_stream.c turns streams into requests and answers into frames. Nobody else includes
 * this. Loop thread only. */
#ifndef HTTP_PROTO_H2_PRIVATE_H
#define HTTP_PROTO_H2_PRIVATE_H

#include <nghttp2/nghttp2.h>

#include "http/answer/exchange.h"
#include "http/net/conn.h"
#include "http/wire/h2_frames.h"
#include "http/wire/h2_guard.h"

struct h2_conn {
    nghttp2_session *session;
    struct exchange *streams;
    unsigned open;        /* streams */
    unsigned running;     /* exchanges with workers, closed streams' included */
    int32_t last_id;      /* the highest that the client has opened */
    int32_t reset_id;     /* the highest that we have reset: frames of it, and of lower ones, may be late */
    int32_t skipped_from; /* ids that it can't open any more: of the last time that it left some out */
    int32_t skipped_to;
    bool announced;          /* our SETTINGS have left */
    struct h2_frames frames; /* of the client's bytes */
    struct http_head *head;  /* of the header block that is being received; NULL between */
    struct buf cookie;       /* the crumbs of that block, joined */
    uint64_t head_since_us;
    size_t refused_bytes; /* of the header block that is being received, if its stream was refused */
    struct h2_guard guard;
    size_t batch_n, batch_most; /* frames that are gathered in loop->scratch_out; so many bytes are enough */
    char *unsent;               /* frames that the socket did not take yet */
    size_t unsent_at, unsent_n;
    const char *killed; /* why the connection ends at once, NULL = it does not */
    bool ended;         /* the client's end */
    bool settings_seen, noticed, went_away;
    size_t early; /* bytes sent before the client's SETTINGS */
    uint64_t began_us, notice_us;
};

#define H2_FRAME_HEAD 9
#define H2_RECORD     16384 /* of TLS, a full one */
/* What a DATA frame of ours has at most: with its head it fills a record. */
#define H2_DATA_MOST (H2_RECORD - H2_FRAME_HEAD)

/* The listener's: of the connection; a stream's are its site's. */
static inline const struct http_settings *h2_settings_of(const struct conn *c)
{
    return c->loop->front->settings;
}

/* -- h2_session.c -- */
int h2_session_create(struct conn *c, nghttp2_session **session);  /* 0 or -1 */
int h2_session_settings(struct conn *c, nghttp2_session *session); /* queues ours; 0 or -1 */
/* The connection is not worth going on with: its budget is used up. NGHTTP2_ERR_CALLBACK_FAILURE. */
int h2_session_kill(struct conn *c, const char *why);
/* A DATA or HEADERS frame of this stream comes. 0, or the connection's end: it may not. */
int h2_session_check(struct conn *c, int32_t id);
/* Our first frame on its way out, in place: how many streams a client may open. */
void h2_session_announce(struct conn *c, char *frame, size_t n);
/* 0, or the connection's end. */
int h2_session_pay(struct conn *c, enum h2_cost cost, const char *what);

/* -- h2_stream.c -- */
extern const struct delivery_protocol h2_delivery; /* of what streams are answered */
void h2_stream_link(struct h2_conn *h2, struct exchange *x);
void h2_stream_unlink(struct conn *c, struct exchange *x);
void h2_stream_finish(struct conn *c, struct exchange *x); /* unlinks it and lets it go */
void h2_stream_reset(struct conn *c, struct exchange *x, uint32_t code);
void h2_stream_begin(struct conn *c, struct exchange *x, bool end); /* its head is complete */
void h2_stream_body_complete(struct conn *c, struct exchange *x);
void h2_stream_submit(struct conn *c, struct exchange *x);
void h2_stream_answer(struct conn *c, struct exchange *x); /* x->delivery.answer leaves */
/* nghttp2 has the head of a DATA frame of n bytes: both are written to the batch. 0, or NGHTTP2_ERR_... */
int h2_stream_write_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                         nghttp2_data_source *source, void *ctx);
void h2_stream_error(struct conn *c, struct exchange *x, int status);

#endif
