/* One request and its answer, between a connection on its loop and a worker. It is three things, each with
 * one owner: the request (struct request, and http_request.h), the worker's reply (reply.h) and the loop's
 * delivery (delivery.h). What both sides touch is the handover, where each field says by which rule.
 *
 * Two sides hold a reference: the loop's, until the connection has sent the whole answer or lost its client,
 * and the worker's, from pool_submit() until done(). Whoever lets go last gives the exchange back to its
 * loop. The control thread takes the worker's place when a worker is lost or the queue wait is over; for a
 * request that another process runs it is the loop, and for answers that are compressed on their way a helper
 * thread (relay.h). */
#ifndef HTTP_ANSWER_EXCHANGE_H
#define HTTP_ANSWER_EXCHANGE_H

#include <semaphore.h>
#include <stdatomic.h>

#include "engine/base/must.h"
#include "engine/engine.h"
#include "http/answer/delivery.h"
#include "http/answer/http_request.h"
#include "http/answer/reply.h"
#include "http/answer/spool.h"
#include "http/net/loop.h"

#define EXCHANGE_MAGIC 0x0e7c4a96u

/* The descriptor of an HTTP/1 connection, with its TLS, is lent to the worker while a script runs, so that it
 * writes the response without waking the loop. Meanwhile the loop neither reads, writes nor closes it. It
 * comes back either quietly (everything is written, nothing else to do: the loop finds out when the next
 * bytes arrive, when it is short of exchanges, or when it sweeps) or with a message in the loop's inbox: at
 * the end of the answer, or before it, when its client does not read (by_loop). */
enum lend {
    LEND_LOOP,   /* the loop has the descriptor */
    LEND_WORKER, /* the worker has it and gives it back quietly (LEND_LOOP) if it can */
    LEND_NOTIFY, /* the worker has it and tells the loop when it gives it back */
    LEND_POSTED, /* it is on its way back with a message */
};

/* What became of the answer is known when both halves are over, the worker's and the loop's. Each says so
 * once; the last one has the request counted (accounting.c). */
enum fate { FATE_OPEN, FATE_WORKER, FATE_LOOP };

/* Between the worker's reply and the loop's delivery. */
struct handover {
    sem_t space; /* a worker that waits for room sleeps on it; kept from one request to the next */
    /* zeroed for each request, from here to the end */
    int fd;                           /* the lent descriptor, -1: output goes through messages */
    struct tls_conn *tls;             /* lent with it; NULL = plain */
    _Atomic int lend;                 /* enum lend */
    uint64_t returned_us;             /* when a quiet hand-back happened; written before lend */
    _Atomic bool gone;                /* set by the loop: nobody reads this answer */
    _Atomic size_t queued;            /* bytes in messages that the loop has not sent yet */
    _Atomic bool waiting;             /* a worker sleeps on `space` */
    struct loop_message end_message;  /* the worker's half is over; posted at most once */
    _Atomic bool by_loop;             /* set by the worker: the descriptor is the loop's again, for good */
    struct loop_message back_message; /* says so to the loop; posted at most once */
    struct spool spool;               /* the worker's, and freed with the last reference */
    _Atomic bool ended;               /* whoever sets it posts end_message, or gives back quietly */
    _Atomic int fate;                 /* enum fate: whose half is over */
};

struct exchange {
    unsigned magic;
    _Atomic int refs;
    struct loop *loop;            /* kept */
    struct exchange *next;        /* in the loop's spares, or its stacks */
    struct arena *arena;          /* kept; whose the request is */
    struct request request;       /* the loop's until it is submitted, the worker's afterwards */
    struct submission submission; /* the pool's */
    struct http_request http;
    struct reply reply;
    struct handover handover;
    struct delivery delivery;
};

extern const struct loop_part exchange_loop_part; /* spare ones, of each loop */
/* Loop. NULL: out of memory. */
struct exchange *exchange_create(struct conn *conn);
void exchange_drop(struct exchange *x); /* one reference; any thread */
void exchange_done(struct exchange *x); /* the worker's, when it is through with the request */
/* Any thread: wakes a worker that waits for room. */
void exchange_wake(struct exchange *x);

/* kept_head.c, loop: x->http.head is a copy of it afterwards, or NULL: out of memory. */
void exchange_keep_head(struct exchange *x, const struct http_head *head);

static inline struct exchange *exchange_of_request(const struct request *r)
{
    struct exchange *x = r->front;
    MUST(x->magic == EXCHANGE_MAGIC);
    return x;
}

/* -- intake.c: loop thread -- */
enum intake_verdict {
    INTAKE_ANSWER, /* x->delivery.answer is complete */
    INTAKE_SCRIPT, /* x->request is complete but for its body */
    INTAKE_ASKED,  /* that is known later: delivery.protocol->decided() is called, and calls intake_again() */
};
/* Decides on loop->head. The head's texts need not outlive the call. */
enum intake_verdict intake_head(struct exchange *x, const struct http_head *head);
enum intake_verdict intake_again(struct exchange *x); /* x->http.head is there; never INTAKE_ASKED */
/* The body is complete: hand the request to the workers. 0, or -1: x->delivery.answer says why not. */
int intake_submit(struct exchange *x);

#endif
