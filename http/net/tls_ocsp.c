/* OCSP stapling: the response of the certificate's authority, which somebody writes to a file and renews
 * there. */
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "http/net/tls_private.h"

#define RESPONSE_MAX 65536

struct tls_ocsp {
    const char *path;
    struct timespec written; /* of the file that was read last; main thread only */
    pthread_rwlock_t lock;   /* guards everything below */
    unsigned char *response; /* NULL: none yet */
    size_t n;
};

struct tls_ocsp *tls_ocsp_create(const char *path)
{
    struct tls_ocsp *ocsp = xcalloc(1, sizeof *ocsp);
    ocsp->path = path;
    pthread_rwlock_init(&ocsp->lock, NULL);
    tls_ocsp_tick(ocsp);
    return ocsp;
}

void tls_ocsp_destroy(struct tls_ocsp *ocsp)
{
    pthread_rwlock_destroy(&ocsp->lock);
    free(ocsp->response);
    free(ocsp);
}

void tls_ocsp_tick(struct tls_ocsp *ocsp)
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

static int on_status(SSL *ssl, void *ctx)
{
    struct tls_ocsp *ocsp = ctx;
    int result = SSL_TLSEXT_ERR_NOACK;
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
