/* What the files of TLS share: tls_context.c makes the context, with tls_cert.c for certificates and keys,
 * tls_ticket.c for the keys of sessions and tls_ocsp.c for the stapled response; tls.c moves the bytes of a
 * connection through tls_bio.c, tls_params.c tells PHP of it. No other file includes this, or OpenSSL. Each
 * function says which thread calls it; `error` gets one clear sentence. */
#ifndef HTTP_NET_TLS_PRIVATE_H
#define HTTP_NET_TLS_PRIVATE_H

#include <openssl/ssl.h>

#include "http/net/tls.h"

/* Belongs to its connection's loop; to the worker while it has the descriptor (http/answer/exchange.h). */
struct tls_conn {
    SSL *ssl;
    unsigned client_rule; /* set when the client's first message is here */
    size_t early;         /* bytes sent since the beginning or the last pause */
    uint64_t last_us;
    size_t pending; /* of a write that OpenSSL wants repeated */
    size_t sealed;  /* bytes whose record is made, and not all sent: they count as written when it is */
    char *rest;     /* of that record; heap.h's, at rest_at */
    size_t rest_at, rest_n;
    bool drained;        /* the last read took all that the socket had */
    bool reading;        /* in tls_read(): the socket is asked so often ... */
    unsigned reads_left; /* ... and not more */
    bool cut_short;      /* it would have been */
    size_t barren;       /* bytes that it gave since any came out */
    bool held;           /* packets leave only when they are full */
    bool writing;        /* in tls_write(): what the socket does not take may be kept in rest */
    bool established, broken, shut;
};

/* -- tls_context.c -- */
SSL *tls_context_accept(struct tls_context *context, struct tls_conn *t,
                        int fd); /* loop thread; NULL: out of memory */

/* -- tls_bio.c -- */
int tls_bio_init(void);                                /* main thread, before the others; 0 or -1 */
int tls_bio_use(struct tls_conn *t, SSL *ssl, int fd); /* loop thread; 0, or -1: out of memory */
bool tls_bio_flush(struct tls_conn *t); /* whoever writes: rest is sent; false: not yet, or t is broken */

/* -- tls_cert.c: main thread -- */
const char *tls_reason(void); /* what OpenSSL last complained of, and its queue emptied */
/* A pair of files, the chain behind the certificate; 0, or -1 with error. */
int tls_cert_load(SSL_CTX *ctx, const char *cert, const char *key, char *error, size_t error_size);

/* -- tls_clients.c: made by the main thread, used in handshakes by every loop -- */
/* What a host asks of its clients. */
struct tls_clients {
    int mode; /* of SSL_set_verify */
    X509_STORE *authorities;
    STACK_OF(X509_NAME) * names; /* that clients are told */
    unsigned char id[32];        /* sessions are resumed only where the same is asked */
    unsigned id_n;
};
int tls_clients_make(const struct tls_host *host, struct tls_clients *out, char *error, size_t error_size);
void tls_clients_clear(struct tls_clients *clients);
bool tls_clients_apply(const struct tls_clients *clients, SSL *ssl); /* false: out of memory */

/* -- tls_ticket.c: made and given keys by the main thread, used in handshakes by every loop -- */
struct tls_tickets;
struct tls_tickets *tls_tickets_create(void);
void tls_tickets_destroy(struct tls_tickets *tickets); /* wipes the keys */
void tls_tickets_rekey(struct tls_tickets *tickets, const struct pool_keys *keys);
/* Tickets of `ctx` are made and opened with these keys, which must outlive it. */
void tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx);

/* -- tls_ocsp.c: made by the main thread, used in handshakes by every loop -- */
struct tls_ocsp;
struct tls_ocsp *tls_ocsp_create(const char *path); /* borrows path; a file that is not there may come */
void tls_ocsp_destroy(struct tls_ocsp *ocsp);
/* Handshakes of `ctx` carry the response, which must outlive it. */
void tls_ocsp_use(struct tls_ocsp *ocsp, SSL_CTX *ctx);

#endif
