/* An event loop: one thread, one libevent base, the connections that it accepted. Everything that hangs on a
 * loop is touched by its thread only; other threads leave messages in its inbox, a lock-free stack, and wake
 * it with one eventfd write when the inbox was empty. A stack without a lock on purpose: a worker that
 * crashes while it posts can't take a loop with it. */
#ifndef HTTP_NET_LOOP_H
#define HTTP_NET_LOOP_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/net/front.h"
#include "http/wire/head.h"

struct conn;
struct exchange;

/* Embedded in whatever is posted; its memory is the receiver's from loop_post() on. */
struct loop_message {
    struct loop_message *next;
    void (*run)(struct loop *loop, struct loop_message *self); /* loop thread */
};

#define LOOP_SCRATCH     (96u << 10)  /* more than the largest request head, and room to read after it */
#define LOOP_SCRATCH_OUT (100u << 10) /* a batch of h2_conn.c, and two frames that may end it */
#define LOOP_SPARES      64           /* exchanges kept for reuse, however few were needed lately */

struct loop {
    struct http_front *front;
    int id;
    struct event_base *base;
    pthread_t thread;
    int wake_fd;
    struct event *wake_event, *sweep_event;
    _Atomic(struct loop_message *) inbox; /* any thread pushes, the loop takes all */
    _Atomic(struct exchange *) returned;  /* any thread pushes finished exchanges back */
    _Atomic(struct exchange *) quiet;   /* any thread pushes what it gave back quietly, with its reference */
    _Atomic unsigned exchanges_working; /* the loop takes, any thread gives back */
    struct loop_message refuse_message, drain_message, stop_message;
    struct metrics_block *counters; /* of what this loop answers by itself */
    struct listen *listens;
    bool leaves;                /* accepts nobody any more but who waits already, if the server ends */
    bool left;                  /* accepts nobody any more */
    struct conn *conns;         /* all open ones; newest first */
    struct conn *dead;          /* closed in this pass; freed at its end */
    bool in_inbox;              /* `again` is looked at next: no need to wake for it */
    struct conn *again;         /* have more to do, after everyone else */
    struct upstream *upstreams; /* connections to other processes */
    struct exchange *spares;
    unsigned exchanges;      /* made and not destroyed: spare, returned, or at work */
    unsigned exchanges_most; /* at work at once, since `trimmed_us` */
    uint64_t trimmed_us;
    struct http_head head; /* of the request that is being taken in */
    char *scratch;         /* LOOP_SCRATCH bytes: what was just read, or is about to be written */
    char *scratch_out;     /* LOOP_SCRATCH_OUT, for coalescing output */
    uint64_t now_us;       /* clock at the beginning of this pass */
    uint64_t swept_us;     /* of the last sweep */
    bool still;            /* nothing is swept: nothing here waits for a time */
    bool was_late;         /* that sweep came late, and was left out */
};

struct loop *loop_create(struct http_front *front, int id); /* NULL: reported */
int loop_start(struct loop *loop);                          /* 0 or an errno value */
void loop_stop(struct loop *loop);                          /* control thread: ends and joins it */
void loop_destroy(struct loop *loop);

void loop_post(struct loop *loop, struct loop_message *message); /* any thread */
void loop_stir(struct loop *loop);   /* loop thread: something came that sweeps look after */
void loop_refuse(struct loop *loop); /* control thread, once */
void loop_drain(struct loop *loop);  /* control thread, once */
/* Loop thread: call http_conn_resume() on it after other connections had their turn. */
void loop_again(struct loop *loop, struct conn *conn);

#endif
