/* The context that all connections are made from: certificates by name, protocols by ALPN, the options of
 * TLS. Made on the main thread before the loops start, and read-only from then on: what changes, ticket keys
 * and the OCSP response, has files and locks of its own. */
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/net/tls_private.h"

#define MAX_CERTS 64

/* Mozilla's "intermediate" list for TLS 1.2; 1.3's own suites are OpenSSL's. */
#define CIPHERS                                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                 \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"

struct tls_context {
    const struct http_settings *settings;
    SSL_CTX *certs[MAX_CERTS]; /* [0] is the default */
    int cert_count;
    struct tls_tickets *tickets;
    struct tls_ocsp *ocsp; /* NULL: no http.tls_ocsp_file */
};

static bool cert_is_for(SSL_CTX *ctx, const char *name)
{
    X509 *cert = SSL_CTX_get0_certificate(ctx);
    return cert && X509_check_host(cert, name, 0, 0, NULL) == 1;
}

static int on_server_name(SSL *ssl, int *alert, void *ctx)
{
    struct tls_context *context = ctx;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    if (!name) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    for (int i = 0; i < context->cert_count; i++) {
        if (cert_is_for(context->certs[i], name)) {
            if (i > 0) {
                SSL_set_SSL_CTX(ssl, context->certs[i]);
            }
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                   unsigned in_n, void *ctx)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)ctx;
    if (SSL_select_next_proto(&chosen, out_n, ours, sizeof ours - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301: no_application_protocol */
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void set_options(SSL_CTX *ctx, struct tls_context *context)
{
    static const unsigned char session_id[] = "tokiophp";
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    /* One read() for a record's head and content. What lies behind it stays in OpenSSL's buffer: connections
     * read until there is nothing more. */
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only: no memory for each client */
    SSL_CTX_set_session_id_context(ctx, session_id, sizeof session_id - 1);
    SSL_CTX_set_dh_auto(ctx, 1);
    tls_tickets_use(context->tickets, ctx);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    if (context->ocsp) {
        tls_ocsp_use(context->ocsp, ctx);
    }
}

static int add_cert(struct tls_context *context, const char *cert, const char *key, char *error,
                    size_t error_size)
{
    const struct http_settings *s = context->settings;
    if (context->cert_count == MAX_CERTS) {
        snprintf(error, error_size, "http.tls_certs: more than %d certificates", MAX_CERTS);
        return -1;
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        snprintf(error, error_size, "OpenSSL: %s", tls_reason());
        return -1;
    }
    context->certs[context->cert_count++] = ctx;
    set_options(ctx, context);
    const char *ciphers = s->tls_ciphers && s->tls_ciphers[0] ? s->tls_ciphers : CIPHERS;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
        snprintf(error, error_size, "http.tls_ciphers = %s: %s", ciphers, tls_reason());
        return -1;
    }
    return tls_cert_load(ctx, cert, key, error, error_size) != 0
               ? -1
               : tls_cert_of_clients(ctx, s, error, error_size);
}

/* "cert:key cert:key" */
static int add_more_certs(struct tls_context *context, char *error, size_t error_size)
{
    struct str rest = str_of(context->settings->tls_certs), pair;
    int bad = 0;
    while (!bad && rest.p && str_split(&rest, ' ', &pair)) {
        if (pair.n == 0) {
            continue;
        }
        const char *colon = memchr(pair.p, ':', pair.n);
        if (!colon) {
            snprintf(error, error_size, "http.tls_certs: expected cert:key, found %.*s", (int)pair.n, pair.p);
            return -1;
        }
        char *cert = xstrndup(pair.p, (size_t)(colon - pair.p));
        char *key = xstrndup(colon + 1, pair.n - (size_t)(colon - pair.p) - 1);
        bad = add_cert(context, cert, key, error, error_size);
        free(cert);
        free(key);
    }
    return bad;
}

struct tls_context *tls_context_create(const struct http_settings *settings, char *error, size_t error_size)
{
    struct tls_context *context = xcalloc(1, sizeof *context);
    context->settings = settings;
    context->tickets = tls_tickets_create();
    context->ocsp = settings->tls_ocsp_file ? tls_ocsp_create(settings->tls_ocsp_file) : NULL;
    if (add_cert(context, settings->tls_cert, settings->tls_key, error, error_size) != 0 ||
        add_more_certs(context, error, error_size) != 0) {
        tls_context_destroy(context);
        return NULL;
    }
    return context;
}

void tls_context_destroy(struct tls_context *context)
{
    for (int i = 0; i < context->cert_count; i++) {
        SSL_CTX_free(context->certs[i]);
    }
    tls_tickets_destroy(context->tickets);
    if (context->ocsp) {
        tls_ocsp_destroy(context->ocsp);
    }
    free(context);
}

void tls_context_tick(struct tls_context *context)
{
    tls_tickets_tick(context->tickets);
    if (context->ocsp) {
        tls_ocsp_tick(context->ocsp);
    }
}

SSL *tls_context_accept(struct tls_context *context, int fd)
{
    SSL *ssl = SSL_new(context->certs[0]);
    if (!ssl || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return ssl;
}
