/* TLS on one connection: the handshake, bytes in and out, kernel TLS where it is offered. */
#include "http/net/tls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/heap.h"
#include "http/net/tls_private.h"

#define FIRST_BYTES   65536 /* so many leave in records of one packet ... */
#define FIRST_RECORD  1360
#define LARGE_RECORD  16384                     /* the largest that there are */
#define IDLE_RESET_US (1 * CLOCK_US_PER_SECOND) /* ... and again after a pause */
#define READS_MOST    2            /* of the socket for one record: its beginning, and the rest */
#define BARREN_MOST   (256u << 10) /* that gave nothing; a record that comes in pieces has 16 KB */

struct tls_conn *tls_conn_create(struct tls_context *context, int fd)
{
    struct tls_conn *t = calloc(1, sizeof *t);
    if (!t) {
        return NULL;
    }
    t->ssl = tls_context_accept(context, t, fd);
    if (!t->ssl) {
        free(t);
        return NULL;
    }
    return t;
}

void tls_conn_destroy(struct tls_conn *t)
{
    SSL_free(t->ssl);
    heap_free(t->rest);
    free(t);
}

/* OpenSSL's error queue is the thread's: it is empty before each call, and after it. A worker shares it with
 * what its script uses, which may have left something: SSL_get_error() would take that for this connection's.
 */
static enum tls_result result_of(struct tls_conn *t, int returned)
{
    int why = SSL_get_error(t->ssl, returned);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ) {
        return TLS_WANT_READ;
    }
    if (why == SSL_ERROR_WANT_WRITE) {
        return TLS_WANT_WRITE;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        return TLS_DONE;
    }
    t->broken = true;
    return TLS_FAILED;
}

enum tls_result tls_handshake(struct tls_conn *t)
{
    int done = SSL_do_handshake(t->ssl);
    if (done == 1) {
        t->established = true;
        return TLS_DONE;
    }
    enum tls_result result = result_of(t, done);
    return result == TLS_DONE ? TLS_FAILED : result;
}

bool tls_is_h2(const struct tls_conn *t)
{
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(t->ssl, &name, &n);
    return n == 2 && memcmp(name, "h2", 2) == 0;
}

unsigned tls_client_rule(const struct tls_conn *t)
{
    return t->client_rule;
}

/* OpenSSL goes on for as long as there are records that bring nothing (KeyUpdate takes 27 bytes, and a
 * hundred thousand times as many instructions), whoever else waits for this thread. */
static int read_some(struct tls_conn *t, char *p, int n)
{
    t->reading = true;
    t->reads_left = READS_MOST;
    t->cut_short = false;
    int done = SSL_read(t->ssl, p, n);
    t->reading = false;
    t->barren = done > 0 ? 0 : t->barren;
    t->broken |= t->barren > BARREN_MOST;
    return done;
}

ssize_t tls_read(struct tls_conn *t, char *p, size_t n)
{
    if (t->broken) {
        return -2;
    }
    int done = read_some(t, p, n > INT32_MAX ? INT32_MAX : (int)n);
    if (done > 0) {
        return done;
    }
    if (t->broken) {
        ERR_clear_error();
        return -2;
    }
    switch (result_of(t, done)) {
    case TLS_DONE: return 0;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE: return -1;
    case TLS_FAILED: break;
    }
    return -2;
}

bool tls_is_drained(const struct tls_conn *t)
{
    return t->drained && !SSL_has_pending(t->ssl);
}

bool tls_read_is_cut(const struct tls_conn *t)
{
    return t->cut_short;
}

bool tls_read_wants_write(const struct tls_conn *t)
{
    return SSL_want_write(t->ssl);
}

/* The first bytes go in small records: the client can use each packet as it comes. */
static size_t record_size(struct tls_conn *t, size_t n)
{
    uint64_t now = clock_coarse_us();
    if (now - t->last_us > IDLE_RESET_US) {
        t->early = 0;
    }
    t->last_us = now;
    if (t->early < FIRST_BYTES && n > 2 * FIRST_RECORD) {
        n = FIRST_RECORD;
    }
    return n < LARGE_RECORD ? n : LARGE_RECORD;
}

/* Each record is a system call of OpenSSL's. */
static void hold(struct tls_conn *t, int held)
{
    t->held = setsockopt(SSL_get_wfd(t->ssl), IPPROTO_TCP, TCP_CORK, &held, sizeof held) == 0 && held;
}

void tls_hold(struct tls_conn *t)
{
    if (!t->held) {
        hold(t, 1);
    }
}

void tls_release(struct tls_conn *t)
{
    if (t->held) {
        hold(t, 0);
    }
}

/* What is sealed of p's beginning has left; false: not yet, or it is broken. */
static bool finish_sealed(struct tls_conn *t, size_t *sent)
{
    if (!tls_bio_flush(t)) {
        return false;
    }
    *sent = t->sealed;
    t->early += t->sealed;
    t->sealed = 0;
    return true;
}

static ssize_t write_records(struct tls_conn *t, const char *p, size_t n)
{
    size_t sent = 0;
    if (t->sealed && !finish_sealed(t, &sent)) {
        return t->broken ? -1 : 0;
    }
    while (sent < n && !t->broken) {
        size_t size = t->pending ? t->pending : record_size(t, n - sent);
        if (ERR_peek_error()) {
            ERR_clear_error();
        }
        int done = SSL_write(t->ssl, p + sent, (int)(size <= n - sent ? size : n - sent));
        if (done > 0) {
            t->pending = 0;
            if (t->rest_n > 0) {
                t->sealed = (size_t)done;
                return (ssize_t)sent;
            }
            t->early += (size_t)done;
            sent += (size_t)done;
            continue;
        }
        enum tls_result result = result_of(t, done);
        if (result == TLS_WANT_READ || result == TLS_WANT_WRITE) {
            t->pending = size;
            return (ssize_t)sent;
        }
        return -1;
    }
    return t->broken ? -1 : (ssize_t)sent;
}

ssize_t tls_write(struct tls_conn *t, const char *p, size_t n)
{
    bool held = t->held;
    if (n > LARGE_RECORD) {
        tls_hold(t);
    }
    t->writing = true;
    ssize_t sent = write_records(t, p, n);
    t->writing = false;
    if (!held) {
        tls_release(t);
    }
    return sent;
}

ssize_t tls_write_pieces(struct tls_conn *t, const struct iovec *v, int count)
{
    char record[LARGE_RECORD];
    if (count == 1 || v[0].iov_len >= sizeof record) {
        return tls_write(t, v[0].iov_base, v[0].iov_len);
    }
    size_t n = 0;
    for (int i = 0; i < count && n < sizeof record; i++) {
        size_t take = v[i].iov_len < sizeof record - n ? v[i].iov_len : sizeof record - n;
        memcpy(record + n, v[i].iov_base, take);
        n += take;
    }
    return tls_write(t, record, n);
}

bool tls_can_sendfile(const struct tls_conn *t)
{
    return BIO_get_ktls_send(SSL_get_wbio(t->ssl)) > 0;
}

ssize_t tls_sendfile(struct tls_conn *t, int fd, off_t offset, size_t n)
{
    ossl_ssize_t done = SSL_sendfile(t->ssl, fd, offset, n, 0);
    if (done > 0) {
        return (ssize_t)done;
    }
    enum tls_result result = result_of(t, (int)done);
    return result == TLS_WANT_WRITE || result == TLS_WANT_READ ? 0 : -1;
}

void tls_shutdown(struct tls_conn *t)
{
    if (t->established && !t->broken && !t->shut) {
        t->shut = true;
        SSL_shutdown(t->ssl);
        if (ERR_peek_error()) {
            ERR_clear_error();
        }
    }
}
