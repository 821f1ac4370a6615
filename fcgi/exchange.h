/* One request and its answer on one connection: a worker's own object, made when the worker serves its first
 * FastCGI request and used for all others. Owned by the worker's thread; abandon() (control thread) is the
 * exception, and holds the request's io_lock or touches nothing but `fd`. */
#ifndef FCGI_EXCHANGE_H
#define FCGI_EXCHANGE_H

#include "fcgi/body.h"
#include "fcgi/conn.h"
#include "fcgi/out.h"

struct fcgi_exchange {
    struct fcgi_conn *conn; /* NULL once the connection has been given back */
    _Atomic int fd;         /* the connection's, for a locked-out abandon; -1 = given back */
    bool keep;              /* the peer's FCGI_KEEP_CONN */
    bool muted;             /* the wait set hears nothing of the connection until it is armed again */
    bool aborted;           /* FCGI_ABORT_REQUEST came: the script's output goes nowhere, END_REQUEST does */
    bool may_hint;          /* the peer understands interim heads: another process of ours that said so */
    bool hinted;            /* all that has left are interim heads */
    bool has_message;       /* something went to STDERR */
    uint64_t looked_us;     /* when the peer was last looked after */

    struct request request;
    struct arena *arena;
    struct fcgi_body body;
    struct fcgi_out out;
    unsigned char input[FCGI_INPUT_BYTES]; /* read from the connection and not used yet: [at, n) */
    size_t input_at, input_n;
};

/* This thread's exchange; NULL: no memory. */
struct fcgi_exchange *exchange_mine(void);
/* Process, once. 0 or -1 (reported). */
int exchange_init(void);

/* The connection's head is complete: it is lent to the exchange. */
void exchange_begin(struct fcgi_exchange *x, struct fcgi_conn *c);
/* After intake_request() and what followed: the request's memory is free for the next one. */
void exchange_end(struct fcgi_exchange *x);

/* intake.c: from the connection's head to x->request. 0, or -1: the arena is full. */
int intake_request(struct fcgi_exchange *x);
/* The number in CONTENT_LENGTH; -1 when it says nothing (absent, empty, negative, no number). */
int64_t intake_length(const char *text);

/* reply.c: the request's io functions. */
extern const struct request_io fcgi_request_io;

#endif
