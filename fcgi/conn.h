/* One connection from a web server.
 *
 * It has one owner at a time: the wait set while it is armed, else the worker that took it out. A worker
 * (serve.c) reads what is there, never waits for a head: an incomplete one goes back into the wait set with
 * what was read. So no peer holds a worker before its request is complete up to the body, and idle
 * connections cost a descriptor and this struct. From BEGIN_REQUEST to END_REQUEST the connection is lent to
 * the worker's exchange (exchange.h).
 *
 * What a peer can do, and what then happens, is the table in docs/fastcgi.md. The waits: */
#ifndef FCGI_CONN_H
#define FCGI_CONN_H

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "fcgi/fcgi.h"
#include "fcgi/head.h"

#define FCGI_FIRST_BYTE_MS 5000  /* from accept to the first byte of the first request */
#define FCGI_HEAD_MS       60000 /* from the first byte of a head to its last */
#define FCGI_IDLE_MS       3600000 /* between two requests: only a peer that died without a word waits so long */
#define FCGI_BODY_WAIT_MS  60000 /* between two pieces of a body that a script reads */
#define FCGI_WRITE_WAIT_MS 60000 /* until a slow reader takes another byte */
#define FCGI_LINGER_MS     2000  /* from our last byte to the peer's close */
#define FCGI_INPUT_BYTES   16384 /* read at once */

enum conn_state {
    CONN_NEW,    /* accepted; nothing read yet */
    CONN_IDLE,   /* kept alive, between two requests */
    CONN_HEAD,   /* a head has begun */
    CONN_BUSY,   /* lent to an exchange */
    CONN_PASSED, /* a head is complete, and on its way to a worker that runs such requests */
    CONN_LINGER, /* we are done and have shut down; reads are thrown away until the peer closes */
};

struct fcgi_conn {
    struct waitable wait; /* .fd is the socket */
    struct fcgi_front *front;
    enum conn_state state;
    int kind;              /* enum fcgi_listener_kind of its listener */
    bool waited;           /* the wait set knows the descriptor */
    _Atomic bool counted;  /* among front->open; whoever clears it counts it out */
    struct fcgi_head head; /* what has been read of the next request's */
    struct buf rest;       /* what was read behind the head of one that was passed */
    uint64_t deadline_us;  /* of the state; 0 = none */
    char ip[46];           /* the peer, for logs: "-" on a unix socket */
};

/* Whoever accepted it. Takes over the descriptor, and counts as open from here on. NULL: there is no memory,
 * and the descriptor is closed. */
struct fcgi_conn *conn_accepted(struct fcgi_front *front, int kind, int fd,
                                const struct sockaddr_storage *peer);
/* The owner: a state, and how long it may last; 0 = as long as it likes. */
void conn_enter(struct fcgi_conn *c, enum conn_state state, uint64_t ms);
/* The owner. Into the wait set; afterwards the connection may already be another thread's. */
void conn_wait(struct fcgi_conn *c);
/* The owner. To the process that serves the pool from now on. True: the connection is not ours any more.
 * False: there is none, or the way to it is full at the moment. */
bool conn_hand_over(struct fcgi_conn *c);
/* The owner, after a response. keep: wait for the next request; else say goodbye: clean = the peer has
 * nothing left to say, so the descriptor can be closed at once. The connection is not the caller's any more.
 */
void conn_answered(struct fcgi_conn *c, bool keep, bool clean);
/* The one destructor; the owner. why: a word for the debug log. */
void conn_close(struct fcgi_conn *c, const char *why);
/* It is no reason to go on for a draining process any more. The owner; the control thread for a lost one. */
void conn_count_out(struct fcgi_conn *c);
/* Control thread. One that another process of the pool has kept open. Takes over the descriptor. */
void conn_adopted(struct fcgi_front *front, int kind, int fd);
/* Control thread, with a connection that was taken out of the wait set: hand it over, or close it, unless it
 * is in the middle of something. */
void conn_evict(struct waitable *w);

#endif
