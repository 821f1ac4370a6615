/* A script's answer on its way to the client: the worker's half of an exchange.
 *
 * Owner: the worker, from pool_submit() until it has set handover.ended; the control thread in the place of a
 * worker that is lost or was never found; the loop or one helper thread at a time for a request that another
 * process runs (relay.h). Nobody else writes a field here; the loop reads close, cut, file and status once
 * the answer has ended.
 *
 * What may block: writing, flushing and finishing, for a slow reader, as long as http.write_timeout and
 * http.stream_timeout allow, and only on a worker's thread. Where another process makes the answer nothing
 * here waits, on no thread: whoever reads from that process stops while relay_full() says so. */
#ifndef HTTP_ANSWER_REPLY_H
#define HTTP_ANSWER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/engine.h"

struct compressor;
struct exchange;

enum reply_state {
    REPLY_NONE,   /* no head yet */
    REPLY_HELD,   /* head and a small body are held back: perhaps the whole response fits */
    REPLY_STREAM, /* the head has left */
    REPLY_DONE,
};

struct reply {
    /* kept from one request to the next, see reply_reset() */
    struct buf lines;  /* "Name: value\r\n" of the response, without framing */
    struct buf held;   /* body that is held back */
    struct buf packed; /* compressor's output */
    /* zeroed for each request, from here to the end */
    enum reply_state state;
    int status;
    struct str status_line; /* arena; PHP's own, or STR_NONE */
    struct compressor *compressor;
    unsigned added;   /* bits of the site's fields (added_fields.h) that the response lacks */
    int64_t length;   /* Content-Length that PHP gave, -1 = none: a promise, whatever the wire says */
    uint64_t sent;    /* body bytes that left, before framing and compression */
    uint64_t body_n;  /* the same after compression */
    uint64_t written; /* bytes that the worker itself put on the wire */
    uint64_t head_n, interim_n; /* of them, or of the loop's: the head; what came before it */
    bool delivered;             /* all of it, and the loop had nothing to say to that */
    bool refused; /* the head could not be passed on: an error of ours is in the answer's place */
    bool coded;   /* the body leaves in another coding than the script's; of a HEAD: it would */
    bool chunked, no_body, streaming, has_coding, no_transform, has_vary, has_date, has_server,
        has_request_id, has_traceparent;
    bool close;            /* the connection can't be used again; read by the loop after the end */
    bool cut;              /* what was promised can't be kept; the same */
    struct str type, etag; /* arena */
    const char *file;      /* arena; X-Accel-Redirect or X-Sendfile: the file that is the body */
    uint64_t stream_since_us;
};

/* Another answer begins: all is forgotten but the memory of the buffers. */
static inline void reply_reset(struct reply *reply)
{
    reply->lines.n = reply->held.n = reply->packed.n = 0;
    memset(&reply->state, 0, sizeof *reply - offsetof(struct reply, state));
    reply->length = -1;
}

/* The functions that PHP answers through. */
extern const struct request_io reply_io;
void reply_done(struct request *r);    /* worker: submission.done */
void reply_expired(struct request *r); /* control thread: submission.expired */
/* Would n bytes more of the body be held back with the head? */
bool reply_holds(const struct exchange *x, size_t n);

#endif
