/* What lies between OpenSSL and a connection's socket. It knows whether the socket was read empty, which
 * spares asking again, and it lets no record stay half sent in OpenSSL's own buffer: what the socket does not
 * take of one is kept here, in memory that any thread may free. So a record is written by the thread that was
 * told to, whoever sends the rest of it. With kernel TLS everything passes as it is. */
#include <openssl/bio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/heap.h"
#include "http/net/tls_private.h"

static BIO_METHOD *method; /* made before the loops start, and kept */

static void forward_retry(BIO *bio)
{
    BIO_clear_retry_flags(bio);
    BIO_copy_next_retry(bio);
}

static int bio_read(BIO *bio, char *p, int n)
{
    struct tls_conn *t = BIO_get_data(bio);
    if (t->reading && t->reads_left-- == 0) {
        t->cut_short = true;
        t->drained = false;
        BIO_clear_retry_flags(bio);
        BIO_set_retry_read(bio);
        return -1;
    }
    int got = BIO_read(BIO_next(bio), p, n);
    forward_retry(bio);
    t->barren += t->reading && got > 0 ? (size_t)got : 0;
    t->drained = got < n && !BIO_get_ktls_recv(BIO_next(bio)); /* the kernel's gives one record at a time */
    return got;
}

bool tls_bio_flush(struct tls_conn *t)
{
    BIO *bio = SSL_get_wbio(t->ssl), *socket = BIO_next(bio);
    while (t->rest_n > 0) {
        int done = BIO_write(socket, t->rest + t->rest_at, (int)t->rest_n);
        forward_retry(bio);
        if (done <= 0) {
            t->broken |= !BIO_should_retry(socket);
            return false;
        }
        t->rest_at += (size_t)done;
        t->rest_n -= (size_t)done;
    }
    heap_free(t->rest);
    t->rest = NULL;
    return true;
}

/* 0, or -1: out of memory. */
static int keep(struct tls_conn *t, const char *p, size_t n)
{
    t->rest = heap_alloc(n);
    if (!t->rest) {
        return -1;
    }
    memcpy(t->rest, p, n);
    t->rest_at = 0;
    t->rest_n = n;
    return 0;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    struct tls_conn *t = BIO_get_data(bio);
    BIO *socket = BIO_next(bio);
    if (t->rest_n > 0 && !tls_bio_flush(t)) {
        return -1;
    }
    int done = BIO_write(socket, p, n);
    forward_retry(bio);
    if (done == n || !t->writing || (done <= 0 && !BIO_should_retry(socket)) || BIO_get_ktls_send(socket)) {
        return done;
    }
    BIO_clear_retry_flags(bio);
    size_t sent = done > 0 ? (size_t)done : 0;
    return keep(t, p + sent, (size_t)n - sent) == 0 ? n : -1;
}

static long bio_control(BIO *bio, int command, long number, void *p)
{
    return BIO_next(bio) ? BIO_ctrl(BIO_next(bio), command, number, p) : 0;
}

int tls_bio_init(void)
{
    if (method) {
        return 0;
    }
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "connection");
    if (!made || !BIO_meth_set_read(made, bio_read) || !BIO_meth_set_write(made, bio_write) ||
        !BIO_meth_set_ctrl(made, bio_control)) {
        BIO_meth_free(made);
        return -1;
    }
    method = made;
    return 0;
}

int tls_bio_use(struct tls_conn *t, SSL *ssl, int fd)
{
    BIO *bio = BIO_new(method), *socket = BIO_new_socket(fd, BIO_NOCLOSE);
    if (!bio || !socket) {
        BIO_free(bio);
        BIO_free(socket);
        return -1;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    BIO_push(bio, socket);
    SSL_set_bio(ssl, bio, bio); /* its owner from now on */
    return 0;
}
