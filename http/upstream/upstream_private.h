/* What the four files of the FastCGI client share: upstream.c leads a request from its start to its end,
 * upstream_conn.c has the connections, upstream_request.c sends, upstream_answer.c reads. Nobody else
 * includes this. Loop thread only. */
#ifndef HTTP_UPSTREAM_UPSTREAM_PRIVATE_H
#define HTTP_UPSTREAM_UPSTREAM_PRIVATE_H

#include <event2/event_struct.h>

#include "http/upstream/upstream.h"
#include "http/wire/upstream_wire.h"

enum upstream_state { UPSTREAM_CONNECTING, UPSTREAM_RUNNING, UPSTREAM_IDLE };

/* A connection, and the request that it has. */
struct upstream {
    struct upstream *prev, *next; /* loop->upstreams */
    struct loop *loop;
    struct upstream_target *target;
    enum upstream_state state;
    int fd;
    struct event event; /* of the descriptor */
    struct event pause; /* the answer has paused for long enough to show what there is */
    bool readable, writable;
    bool reused;          /* has served a request before */
    uint64_t deadline_us; /* for progress; while idle: of the connection */
    struct exchange *x;   /* holds a reference; NULL while idle */

    /* -- the request -- */
    struct buf out; /* records that the socket did not take yet, from out_at on */
    size_t out_at;
    bool body_sent;

    /* -- the answer -- */
    struct upstream_records records;
    struct buf head; /* until it is complete */
    unsigned interims;
    bool heard; /* something of it has come */
    bool head_done;
    bool unflushed;   /* something came since the last flush */
    bool paused;      /* the client does not keep up */
    bool excess;      /* bytes came behind its end */
    int status;       /* of END_REQUEST */
    uint64_t head_us; /* when the head was complete */
};

/* -- upstream_conn.c -- */
/* What libevent calls for a connection and for the pause of its answer; the context is the struct upstream.
 */
struct upstream_events {
    event_callback_fn ready, pause;
};
/* A kept one, unless fresh, or a new one. NULL with errno; reported. */
struct upstream *upstream_conn_get(struct loop *loop, struct upstream_target *target, bool fresh,
                                   const struct upstream_events *events);
int upstream_conn_connected(struct upstream *u); /* 0, or why it failed */
void upstream_conn_keep(struct upstream *u);     /* for the next request, or closes it */
void upstream_conn_close(struct upstream *u);

/* -- upstream_request.c -- */
int upstream_request_begin(struct upstream *u); /* 0 or -1: out of memory */
int upstream_request_send(struct upstream *u);  /* what the socket takes now. 0, or -1: broken */

/* -- upstream_answer.c -- */
enum upstream_heard {
    HEARD_PART, /* nothing more now */
    HEARD_END,  /* END_REQUEST has come */
    HEARD_BAD,  /* why says it */
};
void upstream_answer_begin(struct upstream *u);
/* Reads and passes on what there is, as far as the client takes it. */
enum upstream_heard upstream_answer_read(struct upstream *u, const char **why);

#endif
