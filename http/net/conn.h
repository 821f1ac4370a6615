/* A client's connection: descriptor, TLS, deadlines, bytes in and out; what the bytes mean is decided by its
 * protocol (h1_conn.c, h2_conn.c). Loop thread only. */
#ifndef HTTP_NET_CONN_H
#define HTTP_NET_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "http/net/chunk.h"
#include "http/net/loop.h"
#include "http/wire/h1_parse.h"

enum conn_state {
    CONN_PROXY,     /* PROXY protocol's header is read */
    CONN_HANDSHAKE, /* TLS */
    CONN_OPEN,      /* its protocol speaks */
    CONN_LINGER,    /* our side is shut; what still comes is dropped, so that the last answer is not lost */
    CONN_CLOSED,    /* freed at the end of this pass */
};

/* Settings are in seconds, deadlines in microseconds. */
#define SECONDS(n) ((uint64_t)(n)*CLOCK_US_PER_SECOND)

struct conn;
struct delivery_protocol;
struct h2_conn;
struct tls_conn;

struct conn_protocol {
    const char *name;
    const struct delivery_protocol *delivery; /* how its requests are answered: http/answer's */
    int (*start)(struct conn *c);       /* the connection is this protocol's from now on; -1: out of memory */
    bool (*idle)(const struct conn *c); /* nothing would be lost but time, if it closed now */
    /* May input be read now? */
    bool (*wants)(struct conn *c);
    /* Is the rest of something still to come? Then its end is looked for at once: a reset that comes together
     * with bytes is no edge of its own. */
    bool (*expects)(const struct conn *c);
    /* n bytes, not taken before; the number taken. What is left is given again with more. */
    size_t (*input)(struct conn *c, const char *p, size_t n);
    void (*eof)(struct conn *c); /* the client will send no more */
    /* There is room to write: fill and send. Also after a message or a hand-back. */
    void (*output)(struct conn *c);
    void (*sweep)(struct conn *c);      /* four times a second */
    void (*drain)(struct conn *c);      /* the process ends soon */
    void (*leave)(struct conn *c);      /* the connection ends: let exchanges go; may be called twice */
    bool (*lent)(const struct conn *c); /* does a worker have the descriptor? */
};

enum h1_state {
    H1_HEAD,  /* between requests, or in a request's head */
    H1_ASKED, /* INTAKE_ASKED: what becomes of the request is known soon */
    H1_BODY,  /* a request's body is read */
    H1_RUN,   /* with the workers */
    H1_SEND,  /* the loop sends what is left of the answer */
};

struct h1_conn {
    enum h1_state state;
    struct exchange *exchange;
    size_t scanned; /* of the head that is incomplete */
    bool in_head;   /* some of a head is here */
    bool keep_alive, chunked, skip_body, expects_continue;
    struct h1_chunks chunks;
    uint64_t body_left;
    uint64_t body_since_us, body_read;
    uint32_t requests;
    uint64_t sent_before; /* conn's `sent` when the request began */
};

struct conn {
    unsigned magic;
    enum conn_state state;
    int fd;
    struct loop *loop;
    struct conn *prev, *next; /* loop->conns; `next` also in loop->dead */
    struct conn *next_again;
    bool in_again;
    struct event event;
    const struct conn_protocol *protocol;
    struct tls_conn *tls; /* NULL = plain */
    struct h2_conn *h2;
    struct h1_conn h1;
    char *in; /* bytes read and not taken; malloc'ed */
    size_t in_n;
    bool untried; /* `in` has not been offered since the protocol last changed its mind */
    bool readable, writable, eof, peer_closing;
    bool reset;    /* the client's end refuses what comes; the socket says so only once */
    bool closing;  /* to be closed as soon as the worker gives the descriptor back */
    bool in_limit; /* counted in front->per_client */
    bool tls_wanted;
    bool plain_on_tls; /* HTTP came where TLS is spoken: nothing but a refusal is right */
    size_t proxy_left; /* of the PROXY protocol's header that was read */
    struct chunk_queue out;
    uint64_t deadline_us; /* 0 = none; what it means depends on state */
    uint64_t progress_us; /* last time bytes left, while there are some to send */
    uint64_t accepted_us, idle_since_us;
    uint64_t tls_us; /* what the handshake took, from when it began */
    uint64_t linger_left;
    uint64_t sent; /* bytes of `out` that left */
    const struct listener *listener;
    char local_ip[INET6_ADDRSTRLEN]; /* from the first request on */
    uint16_t local_port;
    struct sockaddr_storage peer;
};

#define CONN_MAGIC 0xc0221ec7u

/* -- conn.c -- */
void http_conn_accept(struct loop *loop, const struct listener *listener, int fd,
                      const struct sockaddr_storage *peer);
void http_conn_become(struct conn *c, const struct conn_protocol *protocol);
void http_conn_resume(struct conn *c);        /* goes on with whatever there is to do */
extern const struct loop_part conn_loop_part; /* all connections of a loop */
/* Ends it politely: sends FIN, and takes what still comes for a moment. c->out is empty. */
void http_conn_linger(struct conn *c);
void http_conn_local(struct conn *c); /* local_ip and local_port are known afterwards */

/* -- conn_end.c -- */
/* The one way a connection ends; why is for the debug log. Deferred while a worker has the descriptor. */
void http_conn_close(struct conn *c, const char *why);
void http_conn_free_dead(struct loop *loop); /* nobody holds one of this pass any more */

/* -- conn_begin.c -- */
/* At the limit a client is let go before anything is allocated for it. */
bool http_conn_admitted(struct conn *c);
void http_conn_begin(struct conn *c); /* what comes first, or next behind the PROXY protocol's header */
void http_conn_greet(struct conn *c); /* that header and the handshake, as far as they are here */

/* -- conn_in.c -- */
/* Reads and offers input for as long as the protocol wants some. */
void http_conn_pump(struct conn *c);
/* Has nothing come that the loop was not told of yet? Asked before an idle connection is closed. */
bool http_conn_silent(const struct conn *c);

/* -- conn_out.c -- */
/* Does the client's end refuse what comes? One that has only said all it has to say still gets its answer. */
bool http_conn_is_reset(struct conn *c);
/* If so: how many of the bytes that were sent it never took. */
uint64_t http_conn_unacknowledged(const struct conn *c);
/* Sends c->out as far as it goes. 0, or -1: the connection was closed. */
int http_conn_send(struct conn *c);
/* More will be written at once, up to the release: over TLS packets need not leave before they are full. */
void http_conn_hold(struct conn *c);
void http_conn_release(struct conn *c);
/* Writes n bytes as far as they go: the number, 0 = none now, -1 = broken. */
ssize_t http_conn_write(struct conn *c, const char *p, size_t n);

#endif
