/* A client that asks as fast as it is answered and counts every request: what load.c's event loop, its
 * connections and its protocols share. One thread. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"

#define STREAMS_MAX 32 /* requests that a connection has open at once */

struct conn;
typedef struct ssl_st SSL;

/* How a request is put, and how an answer is read. */
struct protocol {
    const char *name;
    bool tls, h2;
    bool (*begin)(struct conn *c); /* connected; false: out of memory */
    void (*ask)(struct conn *c);   /* one more request into c->out */
    /* n bytes came; calls load_answered() for each answer. False: nonsense. */
    bool (*take)(struct conn *c, const char *p, size_t n);
    void (*end)(struct conn *c); /* frees c->state */
};

struct question {
    uint64_t id; /* 0 = none */
    uint64_t asked_us;
    bool told; /* that it takes too long */
};

struct conn {
    int fd; /* -1 = none */
    SSL *ssl;
    bool connected, leaving; /* leaving: nothing more is asked here */
    bool heard;              /* a byte of the answer to its oldest question has come */
    unsigned open;           /* questions without an answer */
    unsigned served;
    struct question questions[STREAMS_MAX];
    struct buf out;
    size_t out_at, out_stop; /* bytes up to out_stop may leave now; the rest on the next turn */
    uint64_t ask_at_us;
    bool wants_write;
    void *state; /* the protocol's */
};

struct options {
    const struct protocol *protocol;
    const char *path, *script; /* what is asked for; of FastCGI: the script's file */
    const char *host;
    bool echo;  /* the answer is the request's query, its number */
    bool close; /* a connection for each request */
    unsigned streams;
    unsigned pause_us; /* at most, between an answer and the next question */
};
extern struct options options;

/* For protocols. id: of the question; status: of its answer; body: up to body_n bytes of it. */
void load_answered(struct conn *c, uint64_t id, int status, const char *body, size_t body_n);
/* The question was refused in a way that says: ask again. */
void load_refused(struct conn *c, uint64_t id);
/* A place for a new question. */
struct question *load_question(struct conn *c);
uint64_t load_oldest(const struct conn *c); /* id of the question asked first */

extern const struct protocol h1_protocol, h1s_protocol, h2_protocol, h2s_protocol, fcgi_protocol;

#endif
