/* OCSP stapling: the response of the certificate's authority, which somebody writes to a file and renews
 * there. Handshakes look at the file, each at most once in a while: a process that rests has no ticks. */
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/clock.h"
#include "http/net/tls_private.h"

#define RESPONSE_MAX 65536
#define LOOK_US      (2 * CLOCK_US_PER_SECOND)

struct tls_ocsp {
    const char *path;
    _Atomic uint64_t look_us; /* when the file is looked at again */
    pthread_mutex_t looking;  /* who holds it looks; guards written */
    struct timespec written;  /* of the file that was read last */
    pthread_rwlock_t lock;    /* guards everything below */
    unsigned char *response;  /* NULL: none yet */
    size_t n;
};

static void read_again(struct tls_ocsp *ocsp)
{
    struct stat st;
    if (stat(ocsp->path, &st) != 0 || st.st_size <= 0 || st.st_size > RESPONSE_MAX ||
        (st.st_mtim.tv_sec == ocsp->written.tv_sec && st.st_mtim.tv_nsec == ocsp->written.tv_nsec)) {
        return;
    }
    FILE *file = fopen(ocsp->path, "rbe");
    unsigned char *data = malloc((size_t)st.st_size);
    size_t n = file && data ? fread(data, 1, (size_t)st.st_size, file) : 0;
    if (file) {
        fclose(file);
    }
    if (n == 0) {
        free(data);
        return;
    }
    ocsp->written = st.st_mtim;
    pthread_rwlock_wrlock(&ocsp->lock);
    free(ocsp->response);
    ocsp->response = data;
    ocsp->n = n;
    pthread_rwlock_unlock(&ocsp->lock);
}

/* Whoever comes while another one looks takes what is there. */
static void look(struct tls_ocsp *ocsp)
{
    uint64_t now = clock_us();
    if (now < atomic_load(&ocsp->look_us) || pthread_mutex_trylock(&ocsp->looking) != 0) {
        return;
    }
    read_again(ocsp);
    atomic_store(&ocsp->look_us, now + LOOK_US);
    pthread_mutex_unlock(&ocsp->looking);
}

struct tls_ocsp *tls_ocsp_create(const char *path)
{
    struct tls_ocsp *ocsp = xcalloc(1, sizeof *ocsp);
    ocsp->path = path;
    pthread_mutex_init(&ocsp->looking, NULL);
    pthread_rwlock_init(&ocsp->lock, NULL);
    look(ocsp); /* as whoever we still are: it may be the last time that the file can be read */
    return ocsp;
}

void tls_ocsp_destroy(struct tls_ocsp *ocsp)
{
    pthread_rwlock_destroy(&ocsp->lock);
    pthread_mutex_destroy(&ocsp->looking);
    free(ocsp->response);
    free(ocsp);
}

static int on_status(SSL *ssl, void *ctx)
{
    struct tls_ocsp *ocsp = ctx;
    int result = SSL_TLSEXT_ERR_NOACK;
    look(ocsp);
    pthread_rwlock_rdlock(&ocsp->lock);
    unsigned char *copy = ocsp->n ? OPENSSL_memdup(ocsp->response, ocsp->n) : NULL;
    if (copy) {
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)ocsp->n);
        result = SSL_TLSEXT_ERR_OK;
    }
    pthread_rwlock_unlock(&ocsp->lock);
    return result;
}

void tls_ocsp_use(struct tls_ocsp *ocsp, SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_status_cb(ctx, on_status);
    SSL_CTX_set_tlsext_status_arg(ctx, ocsp);
}
