/* One request and its answer, between a connection on its loop and a worker.
 *
 * Two sides hold a reference: the loop's, until the connection has sent the whole answer or lost its client,
 * and the worker's, from pool_submit() until done(). Whoever lets go last gives the exchange back to its
 * loop. The loop side touches the fields marked L, the worker side those marked W; a field marked LW belongs
 * to the loop until the request is submitted, and to the worker afterwards. The control thread takes the
 * worker's place when a worker is lost or the queue wait is over; for a request that another process runs it
 * is the loop, and for answers that are compressed on their way a helper thread (relay.h).
 *
 * The descriptor of a plain HTTP/1 connection is lent to the worker while a script runs (`lend`), so that it
 * writes the response without waking the loop. Meanwhile the loop neither writes nor closes it. It comes back
 * either quietly (everything is written, nothing else to do: the loop finds out when the next bytes arrive)
 * or with a message in the loop's inbox. */
#ifndef HTTP_ANSWER_EXCHANGE_H
#define HTTP_ANSWER_EXCHANGE_H

#include <semaphore.h>
#include <stdatomic.h>

#include "engine/base/buf.h"
#include "engine/base/must.h"
#include "engine/engine.h"
#include "http/answer/body.h"
#include "http/content/compress.h"
#include "http/content/site.h"
#include "http/net/chunk.h"
#include "http/net/limits.h"
#include "http/net/loop.h"

#define EXCHANGE_MAGIC 0x0e7c4a96u

struct conn;
struct relay;
struct upstream;
struct upstream_target;

enum lend {
    LEND_LOOP,   /* the loop has the descriptor */
    LEND_WORKER, /* the worker has it and gives it back quietly (LEND_LOOP) if it can */
    LEND_NOTIFY, /* the worker has it and tells the loop when it gives it back */
    LEND_POSTED, /* it is on its way back with a message */
};

enum reply_state {
    REPLY_NONE,   /* no head yet */
    REPLY_HELD,   /* head and a small body are held back: perhaps the whole response fits */
    REPLY_STREAM, /* the head has left */
    REPLY_DONE,
};

/* How the client's protocol takes an answer. Loop thread. */
struct exchange_delivery {
    /* The head, as "Name: value\r\n" lines that may be changed; NULL where it comes as bytes in x->out. */
    void (*head)(struct conn *c, struct exchange *x, int status, char *lines, size_t n);
    void (*news)(struct conn *c, struct exchange *x); /* more in x->out, or x->out_end */
};

/* Who makes the answer, where no worker of ours does. Loop thread. */
struct exchange_runner {
    void (*abort)(struct exchange *x);  /* nobody reads it any more */
    void (*resume)(struct exchange *x); /* there is room for more of it */
};

/* The worker's half of an answer. */
struct reply {
    enum reply_state state;
    int status;
    struct str status_line; /* arena; PHP's own, or STR_NONE */
    struct compressor *compressor;
    unsigned security; /* bits of the security headers that the response lacks */
    int64_t length;    /* Content-Length that PHP gave, -1 = none: a promise, whatever the wire says */
    uint64_t sent;     /* body bytes that left, before framing and compression */
    bool refused;      /* the head could not be passed on: an error of ours is in the answer's place */
    bool chunked, no_body, streaming, has_coding, no_transform, has_vary, has_date, has_server,
        has_request_id, has_traceparent;
    bool close;            /* the connection can't be used again; read by the loop after the end */
    bool cut;              /* what was promised can't be kept; the same */
    struct str type, etag; /* arena */
    const char *file;      /* arena; X-Accel-Redirect or X-Sendfile: the file that is the body */
    uint64_t stream_since_us;
};

struct exchange {
    /* kept from one request to the next */
    struct loop *loop;
    sem_t space;
    struct arena *arena;   /* LW */
    struct buf lines;      /* W; "Name: value\r\n" of the response, without framing */
    struct buf held;       /* W; body that is held back */
    struct buf packed;     /* W; compressor's output */
    struct exchange *next; /* L; in the loop's spares, or its `returned` stack */
    /* zeroed for each request, from here to the end */
    unsigned magic;
    _Atomic int refs;
    struct conn *conn;                        /* L; NULL once the connection is gone */
    const struct exchange_delivery *delivery; /* L; its protocol's */
    struct request request;                   /* LW */
    struct submission submission;             /* the pool's */
    struct body body;                         /* LW */
    struct client client;                     /* LW */
    const char *local_ip;                     /* arena */

    /* -- set before submission, read by both -- */
    bool head_only; /* HEAD */
    bool h2;
    bool keep_alive;                /* h1: the client's wish */
    enum coding coding;             /* that the client accepts best */
    bool profile;                   /* the client asked for X-Profile fields */
    uint64_t tls_us;                /* of its connection's handshake, if it did */
    const struct http_site *site;   /* whose files, pages and settings */
    struct upstream_target *target; /* NULL: this process's workers run it */
    struct http_head *head; /* arena; kept only where it is asked for later: sendfile_root, error_pages_dir */

    /* -- hand-over -- */
    int fd;                          /* the lent descriptor, -1: output goes through messages */
    _Atomic int lend;                /* enum lend */
    uint64_t returned_us;            /* when a quiet hand-back happened; written before lend */
    _Atomic bool gone;               /* set by the loop: nobody reads this answer */
    _Atomic size_t queued;           /* bytes in messages that the loop has not sent yet */
    _Atomic bool waiting;            /* a worker sleeps on `space` */
    struct reply reply;              /* W */
    struct loop_message end_message; /* the worker's half is over; posted at most once */
    _Atomic bool ended;              /* whoever sets it posts end_message, or gives back quietly */

    /* -- L: what is on its way out -- */
    struct http_answer *answer; /* arena; NULL for a script's response */
    struct chunk_queue out;
    bool close;   /* the connection can't be used again after this response */
    bool out_end; /* the worker's half is over: nothing more will come */
    bool out_cut; /* the response broke off */
    bool submitted;
    bool answered; /* by the loop itself, which counts it at its end */
    int32_t stream_id;
    struct exchange *stream_prev, *stream_next; /* of one h2 connection */
    bool head_out, body_done, deferred, stream_closed, too_large, unwanted;
    bool running;                         /* counted among its connection's running ones */
    struct upstream *upstream;            /* that has the request; NULL: none */
    const struct exchange_runner *runner; /* upstream's */
    struct relay *relay;                  /* the worker's half is with the helper threads; NULL: it is not */
    size_t header_bytes;
    uint64_t began_us, progress_us;
};

extern const struct loop_part exchange_loop_part; /* spare ones, of each loop */
/* NULL: out of memory. */
struct exchange *exchange_create(struct conn *conn, const struct exchange_delivery *delivery);
void exchange_drop(struct exchange *x); /* one reference; any thread */
/* Loop: nobody waits for this answer any more. Takes the loop's reference. */
void exchange_leave(struct exchange *x);
/* Loop: n bytes of its messages were sent; a worker that waits may go on. */
void exchange_unqueue(struct exchange *x, size_t n);
/* Loop: there is room for more of the answer; whoever makes it may have been waiting. */
void exchange_resume(struct exchange *x);
/* Loop: nobody reads this answer any more; PHP hears of it, and a script that still waits is not run. */
void exchange_abort(struct exchange *x);
/* Any thread: wakes a worker that waits for room. */
void exchange_wake(struct exchange *x);

static inline struct exchange *exchange_of_request(const struct request *r)
{
    struct exchange *x = r->front;
    MUST(x->magic == EXCHANGE_MAGIC);
    return x;
}

/* -- intake.c: loop thread -- */
enum intake_verdict {
    INTAKE_ANSWER, /* x->answer is complete */
    INTAKE_SCRIPT, /* x->request is complete but for its body */
};
/* Decides on loop->head. The head's texts need not outlive the call. */
enum intake_verdict intake_head(struct exchange *x, const struct http_head *head);
/* The body is complete: hand the request to the workers. 0, or -1: x->answer says why not. */
int intake_submit(struct exchange *x);

/* -- reply.c -- */
extern const struct request_io reply_io;
void reply_done(struct request *r);    /* worker: submission.done */
void reply_expired(struct request *r); /* control thread: submission.expired */
/* Would n bytes more of the body be held back with the head? */
bool reply_holds(const struct exchange *x, size_t n);

#endif
