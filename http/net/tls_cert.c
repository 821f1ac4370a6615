/* Certificates and keys, from files into one SSL_CTX. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "http/net/pem.h"
#include "http/net/tls_private.h"

const char *tls_reason(void)
{
    unsigned long code = ERR_peek_error(); /* the first one is the cause */
    const char *reason =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    ERR_clear_error();
    return reason ? reason : "unknown error";
}

/* The certificate and, behind it in the same text, the chain that is sent with it. */
static bool use_chain(SSL_CTX *ctx, BIO *in)
{
    X509 *cert = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL);
    bool good = cert && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_clear_chain_certs(ctx) == 1;
    X509_free(cert);
    while (good && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            good = false;
        }
    }
    /* The last read found no further certificate, which is the end, or a damaged one. */
    if (good && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        good = false;
    }
    return good;
}

static bool use_key(SSL_CTX *ctx, BIO *in)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    bool good = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
    EVP_PKEY_free(key);
    return good;
}

static int load_pem(SSL_CTX *ctx, const char *path, bool (*use)(SSL_CTX *, BIO *), const char *what,
                    char *error, size_t error_size)
{
    struct str text = pem_load(path);
    if (!text.p) {
        snprintf(error, error_size, "cannot use the %s %s: %s", what, path, strerror(errno));
        return -1;
    }
    ERR_clear_error();
    BIO *in = BIO_new_mem_buf(text.p, (int)text.n);
    bool good = in && use(ctx, in);
    if (!good) {
        snprintf(error, error_size, "cannot use the %s %s: %s", what, path, tls_reason());
    }
    BIO_free(in);
    return good ? 0 : -1;
}

int tls_cert_load(SSL_CTX *ctx, const char *cert, const char *key, char *error, size_t error_size)
{
    if (load_pem(ctx, cert, use_chain, "certificate", error, error_size) != 0 ||
        load_pem(ctx, key, use_key, "private key", error, error_size) != 0) {
        return -1;
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
        snprintf(error, error_size, "the private key %s does not belong to the certificate %s", key, cert);
        return -1;
    }
    return 0;
}
