/* TLS on connections: OpenSSL is used in tls*.c and nowhere else. The context is made by the main thread
 * before the loops start and shared by them; a tls_conn belongs to its connection's loop, and to the worker
 * that has its descriptor. */
#ifndef HTTP_NET_TLS_H
#define HTTP_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "engine/engine.h"
#include "http/http_settings.h"

struct tls_context;
struct tls_conn;

/* A host that clients may name in their handshake, and whose rules they then meet. */
struct tls_host {
    const char *names;                    /* as http.server_name */
    const struct http_settings *settings; /* of what is said of certificates, clients and ciphers */
    unsigned client_rule; /* equal for hosts that ask the same of clients; 0 = nothing is asked of them */
    bool paths_only;      /* only its certificates count: it has some paths of another host */
};

/* hosts[0] is for those who name none, or none of these; all are borrowed. Every certificate may be shown for
 * its names, a host's own first. NULL: one clear sentence in error. */
struct tls_context *tls_context_create(const struct tls_host *hosts, size_t count, char *error,
                                       size_t error_size);
/* Can http.tls_client_verify and http.tls_client_ca be followed? 0, or -1 with error. Also reads the file,
 * which the pool's user may not be able to read later. */
int tls_check_clients(const struct http_settings *settings, char *error, size_t error_size);
void tls_context_destroy(struct tls_context *context);
void tls_memory_wipe(void); /* main thread: what OpenSSL frees from here on is wiped; before its first use */
bool tls_is_begun(void); /* after tls_memory_wipe(): OpenSSL reads its own configuration once in a process */
void tls_memory_settle(void); /* no more keys will be read: nothing has to be wiped any more */
void tls_context_rekey(struct tls_context *context, const struct pool_keys *keys); /* main thread */

enum tls_result { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_FAILED };

struct tls_conn *tls_conn_create(struct tls_context *context, int fd); /* NULL: out of memory */
void tls_conn_destroy(struct tls_conn *t);
enum tls_result tls_handshake(struct tls_conn *t);
bool tls_is_h2(const struct tls_conn *t);           /* by ALPN; after the handshake */
unsigned tls_client_rule(const struct tls_conn *t); /* of the host that the handshake named */
/* >0 bytes; 0 = the peer closed; -1 = none now; -2 = broken. */
ssize_t tls_read(struct tls_conn *t, char *p, size_t n);
/* After >0: the socket had no more, and nothing of it is left here. */
bool tls_is_drained(const struct tls_conn *t);
/* After -1: not for want of bytes, but because others have their turn. */
bool tls_read_is_cut(const struct tls_conn *t);
/* After -1: not for want of bytes, but because an answer of TLS's own has to leave first. */
bool tls_read_wants_write(const struct tls_conn *t);
/* >0 bytes; 0 = none now; -1 = broken. A refused write is repeated with the same bytes, or more. */
ssize_t tls_write(struct tls_conn *t, const char *p, size_t n);
/* The same for the beginning of these, which share a record if they are small. */
ssize_t tls_write_pieces(struct tls_conn *t, const struct iovec *v, int count);
/* More will be written at once: until tls_release() packets leave when they are full, so that the way through
 * the kernel is not taken for each record, and no packet ends where one does. */
void tls_hold(struct tls_conn *t);
void tls_release(struct tls_conn *t);
bool tls_can_sendfile(const struct tls_conn *t);
ssize_t tls_sendfile(struct tls_conn *t, int fd, off_t offset, size_t n); /* as tls_write */
void tls_shutdown(struct tls_conn *t);                                    /* close_notify, once */
/* Adds SSL_PROTOCOL, SSL_CIPHER and SSL_CLIENT_* to the request; 0 or -1. */
int tls_params(struct tls_conn *t, struct request *r);

#endif
