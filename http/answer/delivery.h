/* An answer on the loop's side: what has arrived for the client, and how much of it the connection has taken.
 *
 * Owner: the loop of the exchange; no other thread reads or writes a field here. Nothing on this side ever
 * waits: a client that reads slowly holds up the worker, which sees handover.queued grow, or stops the
 * reading from another process (relay_full()), never the loop. */
#ifndef HTTP_ANSWER_DELIVERY_H
#define HTTP_ANSWER_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "http/net/chunk.h"
#include "http/net/loop.h"
#include "http/wire/head.h"

struct conn;
struct exchange;
struct relay;
struct upstream;

/* How the client's protocol takes an answer. */
struct delivery_protocol {
    /* The head, as "Name: value\r\n" lines that may be changed; NULL where it comes as bytes in `out`. */
    void (*head)(struct conn *c, struct exchange *x, int status, char *lines, size_t n);
    void (*news)(struct conn *c, struct exchange *x); /* more in `out`, or out_end */
    /* What was INTAKE_ASKED can be decided: intake_again(). */
    void (*decided)(struct conn *c, struct exchange *x);
    /* Its descriptor came back quietly: let it go. May not read; NULL where no descriptor is lent. */
    void (*quiet)(struct conn *c, struct exchange *x);
};

/* Who makes the answer, where no worker of ours does. */
struct delivery_runner {
    void (*abort)(struct exchange *x);  /* nobody reads it any more */
    void (*resume)(struct exchange *x); /* there is room for more of it */
};

struct delivery {
    struct conn *conn;                        /* NULL once the connection is gone */
    const struct delivery_protocol *protocol; /* its protocol's */
    struct http_answer *answer;               /* arena; NULL for a script's response */
    struct chunk_queue out;                   /* has arrived and is not sent */
    bool close;                               /* the connection can't be used again after this response */
    bool out_end;                             /* the worker's half is over: nothing more will come */
    bool out_cut;                             /* the response broke off */
    bool submitted;
    bool answered;    /* by the loop itself, which counts it at its end */
    bool whole;       /* the client has got all of it; known with FATE_LOOP, as is what follows */
    uint64_t wire;    /* bytes that the loop put on the wire (h2: of the body) */
    uint64_t refused; /* bytes, the worker's too, that the client's end did not take */
    uint64_t left_us;
    bool body_done, too_large, unwanted; /* the request's body: all here; more than allowed; not read */
    size_t header_bytes;
    uint64_t began_us, progress_us;
    /* another process's answer */
    struct upstream *upstream;            /* that has the request; NULL: none */
    const struct delivery_runner *runner; /* upstream's */
    struct relay *relay;                  /* the worker's half is with the helper threads; NULL: it is not */
    /* h2 */
    int32_t stream_id;
    struct exchange *stream_prev, *stream_next; /* of one connection */
    bool head_out, deferred, stream_closed;
    bool running; /* counted among its connection's running ones */
};

/* Nobody waits for this answer any more. Takes the loop's reference. */
void delivery_leave(struct exchange *x);
/* Nobody reads this answer any more; PHP hears of it, and a script that still waits is not run. */
void delivery_abort(struct exchange *x);
/* n bytes of its messages were sent; a worker that waits may go on. */
void delivery_unqueue(struct exchange *x, size_t n);
/* There is room for more of the answer; whoever makes it may have been waiting. */
void delivery_resume(struct exchange *x);
/* What a worker posted has arrived: loop_message.run of reply_message.c's messages, and of its last one. */
void delivery_take(struct loop *loop, struct loop_message *message);
void delivery_take_back(struct loop *loop, struct loop_message *self);
void delivery_take_end(struct loop *loop, struct loop_message *end_message);

#endif
