/* One request and its answer on one connection: a worker's own object, made when the worker serves its first
 * FastCGI request and used for all others. libfcgi lives here: FCGX_Accept_r decodes the head, which the
 * screen has vetted, from the "tray" (a memory file: libfcgi reads nothing but descriptors), and its streams
 * carry small output, STDERR and END_REQUEST. Owned by the worker's thread; abandon() (control thread) is
 * the exception, and holds the request's io_lock or touches nothing but `fd`. */
#ifndef FCGI_EXCHANGE_H
#define FCGI_EXCHANGE_H

#include <fcgiapp.h>

#include "fcgi/body.h"
#include "fcgi/conn.h"

struct fcgi_exchange {
    FCGX_Request fcgx;
    bool streams_open; /* libfcgi's streams of a request exist */
    int tray_fd;
    unsigned char *tray;

    struct fcgi_conn *conn; /* NULL once the connection has been given back */
    _Atomic int fd;         /* the connection's, for a locked-out abandon; -1 = given back */
    uint16_t id;
    bool keep;          /* the peer's FCGI_KEEP_CONN */
    bool aborted;       /* FCGI_ABORT_REQUEST came: the script's output goes nowhere, END_REQUEST does */
    bool broken;        /* the connection cannot be written any more */
    bool written;       /* something of the response has left */
    bool may_hint;      /* the peer understands interim heads: another process of ours that said so */
    bool hinted;        /* all that has left are interim heads */
    bool has_message;   /* something went to STDERR */
    uint64_t looked_us; /* when the peer was last looked after */

    struct request request;
    struct arena *arena;
    struct buf head; /* what the screen let through */
    struct fcgi_body body;
    unsigned char input[FCGI_INPUT_BYTES]; /* read from the connection and not used yet: [at, n) */
    size_t input_at, input_n;
};

/* This thread's exchange; NULL: no memory or descriptors. */
struct fcgi_exchange *exchange_mine(void);
/* Process, once: libfcgi's own start, without its signal handlers. 0 or -1 (reported). */
int exchange_init(void);

/* A connection's head is complete in x->head: let libfcgi decode it. 0, or -1 (this exchange is unusable
 * until the next try). */
int exchange_accept(struct fcgi_exchange *x, struct fcgi_conn *c);
/* After the request: libfcgi's memory is freed. */
void exchange_release(struct fcgi_exchange *x);

/* intake.c: from libfcgi's variables to x->request. 0, or -1: the arena is full. */
int intake_request(struct fcgi_exchange *x);
/* The number in CONTENT_LENGTH; -1 when it says nothing (absent, empty, negative, no number). */
int64_t intake_length(const char *text);

/* reply.c: the request's io functions. */
extern const struct request_io fcgi_request_io;

#endif
