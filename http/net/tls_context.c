/* The context that all connections are made from: certificates by name, protocols by ALPN, the options of
 * TLS. Made on the main thread before the loops start, and read-only from then on: what changes, ticket keys
 * and the OCSP response, has files and locks of its own. */
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/net/tls_private.h"
#include "http/wire/host_pattern.h"

/* Mozilla's "intermediate" list for TLS 1.2; 1.3's own suites are OpenSSL's. */
#define CIPHERS                                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                 \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"

/* A pair of files; the context has their owner's ciphers, too. */
struct cert {
    SSL_CTX *ctx;
    const struct tls_host *owner;
    struct tls_ocsp *ocsp; /* NULL: no http.tls_ocsp_file */
};

struct tls_context {
    const struct tls_host *hosts;
    struct tls_clients *clients; /* of each host */
    size_t host_count;
    struct cert *certs; /* [0] is the default */
    size_t cert_count;
    struct tls_tickets *tickets;
};

static const char *ciphers_of(const struct tls_host *host)
{
    const char *ciphers = host->settings->tls_ciphers;
    return ciphers && ciphers[0] ? ciphers : CIPHERS;
}

/* -- by name -- */

/* The name that a client's first message asks for, in out; STR_NONE: none. RFC 6066, 3. */
static struct str server_name(SSL *ssl, char out[256])
{
    const unsigned char *p;
    size_t n;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1 || n < 5 ||
        (size_t)(p[0] << 8 | p[1]) != n - 2 || p[2] != TLSEXT_NAMETYPE_host_name) {
        return STR_NONE;
    }
    size_t length = (size_t)(p[3] << 8 | p[4]);
    if (length == 0 || length > n - 5 || length > 255 || memchr(p + 5, 0, length)) {
        return STR_NONE;
    }
    memcpy(out, p + 5, length);
    out[length] = '\0';
    return (struct str){out, length};
}

/* As sites_choose() finds the host of a request. */
static size_t find_host(const struct tls_context *context, struct str name)
{
    size_t found = 0;
    unsigned best = name.p ? host_pattern_fit(context->hosts[0].names, name) : 0;
    for (size_t i = 1; name.p && i < context->host_count; i++) {
        unsigned fit = context->hosts[i].paths_only ? 0 : host_pattern_fit(context->hosts[i].names, name);
        if (fit > best) {
            best = fit;
            found = i;
        }
    }
    return found;
}

static bool cert_is_for(const struct cert *cert, struct str name)
{
    X509 *x509 = SSL_CTX_get0_certificate(cert->ctx);
    return x509 && X509_check_host(x509, name.p, name.n, 0, NULL) == 1;
}

static const struct cert *find_cert(const struct tls_context *context, const struct tls_host *host,
                                    struct str name)
{
    const struct cert *other = NULL;
    for (size_t i = 0; name.p && i < context->cert_count; i++) {
        const struct cert *cert = &context->certs[i];
        bool own = cert->owner == host;
        if ((own || !other) && cert_is_for(cert, name)) {
            if (own) {
                return cert;
            }
            other = cert;
        }
    }
    return other ? other : &context->certs[0];
}

/* Before anything of the handshake is decided: which certificate is shown, what is asked of the client. */
static int on_client_hello(SSL *ssl, int *alert, void *ctx)
{
    const struct tls_context *context = ctx;
    struct tls_conn *t = SSL_get_app_data(ssl);
    char text[256];
    struct str name = server_name(ssl, text);
    size_t i = find_host(context, name);
    const struct tls_host *host = &context->hosts[i];
    const struct cert *cert = find_cert(context, host, name);
    bool other_ciphers = strcmp(ciphers_of(host), ciphers_of(cert->owner)) != 0;
    t->client_rule = host->client_rule;
    if (!SSL_set_SSL_CTX(ssl, cert->ctx) || !tls_clients_apply(&context->clients[i], ssl) ||
        (other_ciphers && SSL_set_cipher_list(ssl, ciphers_of(host)) != 1)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* Tells the client that its name was heard. */
static int on_server_name(SSL *ssl, int *alert, void *ctx)
{
    (void)alert;
    (void)ctx;
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
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
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    /* One read() for a record's head and content. What lies behind it stays in OpenSSL's buffer: connections
     * read until there is nothing more. */
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only: no memory for each client */
    SSL_CTX_set_dh_auto(ctx, 1);
    tls_tickets_use(context->tickets, ctx);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_client_hello_cb(ctx, on_client_hello, context);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
}

static int add_cert(struct tls_context *context, const struct tls_host *owner, const char *cert,
                    const char *key, char *error, size_t error_size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        snprintf(error, error_size, "OpenSSL: %s", tls_reason());
        return -1;
    }
    context->certs = xrealloc(context->certs, (context->cert_count + 1) * sizeof *context->certs);
    context->certs[context->cert_count++] = (struct cert){.ctx = ctx, .owner = owner};
    set_options(ctx, context);
    if (SSL_CTX_set_cipher_list(ctx, ciphers_of(owner)) != 1) {
        snprintf(error, error_size, "http.tls_ciphers = %s: %s", ciphers_of(owner), tls_reason());
        return -1;
    }
    return tls_cert_load(ctx, cert, key, error, error_size);
}

/* "cert:key cert:key" */
static int add_more_certs(struct tls_context *context, const struct tls_host *owner, char *error,
                          size_t error_size)
{
    const char *list = owner->settings->tls_certs;
    struct str rest = list ? str_of(list) : STR_NONE, pair;
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
        bad = add_cert(context, owner, cert, key, error, error_size);
        free(cert);
        free(key);
    }
    return bad;
}

/* The response is for the pair of http.tls_cert; a host's further ones have none. */
static void add_ocsp(struct cert *cert)
{
    const char *path = cert->owner->settings->tls_ocsp_file;
    if (path) {
        cert->ocsp = tls_ocsp_create(path);
        tls_ocsp_use(cert->ocsp, cert->ctx);
    }
}

static int add_host(struct tls_context *context, size_t i, char *error, size_t error_size)
{
    const struct tls_host *host = &context->hosts[i];
    const struct http_settings *s = host->settings;
    bool has_cert = s->tls_cert && s->tls_key;
    if (!host->paths_only && tls_clients_make(host, &context->clients[i], error, error_size) != 0) {
        return -1;
    }
    if (has_cert && add_cert(context, host, s->tls_cert, s->tls_key, error, error_size) != 0) {
        return -1;
    }
    if (has_cert) {
        add_ocsp(&context->certs[context->cert_count - 1]);
    }
    return add_more_certs(context, host, error, error_size);
}

struct tls_context *tls_context_create(const struct tls_host *hosts, size_t count, char *error,
                                       size_t error_size)
{
    tls_memory_wipe();
    if (tls_bio_init() != 0) {
        snprintf(error, error_size, "OpenSSL: %s", tls_reason());
        return NULL;
    }
    struct tls_context *context = xcalloc(1, sizeof *context);
    context->hosts = hosts;
    context->host_count = count;
    context->clients = xcalloc(count, sizeof *context->clients);
    context->tickets = tls_tickets_create();
    for (size_t i = 0; i < count; i++) {
        if (add_host(context, i, error, error_size) != 0) {
            tls_context_destroy(context);
            return NULL;
        }
    }
    return context;
}

void tls_context_destroy(struct tls_context *context)
{
    for (size_t i = 0; i < context->cert_count; i++) {
        SSL_CTX_free(context->certs[i].ctx);
        if (context->certs[i].ocsp) {
            tls_ocsp_destroy(context->certs[i].ocsp);
        }
    }
    for (size_t i = 0; i < context->host_count; i++) {
        tls_clients_clear(&context->clients[i]);
    }
    tls_tickets_destroy(context->tickets);
    free(context->certs);
    free(context->clients);
    free(context);
}

void tls_context_rekey(struct tls_context *context, const struct pool_keys *keys)
{
    tls_tickets_rekey(context->tickets, keys);
}

SSL *tls_context_accept(struct tls_context *context, struct tls_conn *t, int fd)
{
    SSL *ssl = SSL_new(context->certs[0].ctx);
    if (!ssl || tls_bio_use(t, ssl, fd) != 0 || SSL_set_app_data(ssl, t) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return ssl;
}
