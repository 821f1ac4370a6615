/* TLS with OpenSSL: certificates by name, protocols by ALPN, session tickets, OCSP stapling, client
 * certificates, kernel TLS where it is offered. The context is shared by all loops: read-only after the start
 * but for the ticket keys and the OCSP response, which have locks of their own. */
#include "http/tls.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/pem.h"

#define MAX_CERTS     64
#define TICKET_KEYS   3
#define TICKET_ROTATE (4 * 3600 * CLOCK_US_PER_SECOND)
#define OCSP_MAX      65536
#define FIRST_BYTES   65536 /* so many leave in records of one packet ... */
#define FIRST_RECORD  1360
#define IDLE_RESET_US (1 * CLOCK_US_PER_SECOND) /* ... and again after a pause */

/* Mozilla's "intermediate" list for TLS 1.2; 1.3's own suites are OpenSSL's. */
#define CIPHERS                                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                 \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"

struct ticket_key {
    unsigned char name[16], cipher[32], mac[32];
};

struct tls_context {
    const struct http_settings *settings;
    SSL_CTX *certs[MAX_CERTS]; /* [0] is the default */
    int cert_count;
    pthread_rwlock_t lock;               /* guards everything below */
    struct ticket_key keys[TICKET_KEYS]; /* newest first */
    uint64_t rotated_us;
    unsigned char *ocsp;
    size_t ocsp_n;
    struct timespec ocsp_time;
};

struct tls_conn {
    SSL *ssl;
    size_t early; /* bytes sent since the beginning or the last pause */
    uint64_t last_us;
    size_t pending; /* of a write that OpenSSL wants repeated */
    bool established, broken, shut;
};

static int context_index = -1;

/* -- session tickets -- */

static void rotate_keys(struct tls_context *context)
{
    memmove(&context->keys[1], &context->keys[0], sizeof context->keys[0] * (TICKET_KEYS - 1));
    if (RAND_bytes((unsigned char *)&context->keys[0], sizeof context->keys[0]) != 1) {
        log_limited(LEVEL_ERROR, "TLS: no random bytes for a ticket key");
    }
    context->rotated_us = clock_us();
}

static int set_mac(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params);
}

/* OpenSSL's way of asking for a ticket's key: to make one (enc) or to open one. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int enc)
{
    struct tls_context *context = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);
    struct ticket_key key;
    int which = 0;
    pthread_rwlock_rdlock(&context->lock);
    if (!enc) {
        while (which < TICKET_KEYS && memcmp(name, context->keys[which].name, 16) != 0) {
            which++;
        }
    }
    if (which < TICKET_KEYS) {
        key = context->keys[which];
    }
    pthread_rwlock_unlock(&context->lock);
    if (which == TICKET_KEYS) {
        return 0;
    }
    int ok;
    if (enc) {
        memcpy(name, key.name, 16);
        ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
             EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv);
    } else {
        ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv);
    }
    ok = ok && set_mac(mac, &key);
    OPENSSL_cleanse(&key, sizeof key);
    return ok ? (which > 0 ? 2 : 1) : -1; /* 2: opened, but make a new one */
}

/* -- OCSP -- */

static void load_ocsp(struct tls_context *context)
{
    struct stat st;
    const char *path = context->settings->tls_ocsp_file;
    if (stat(path, &st) != 0 || st.st_size <= 0 || st.st_size > OCSP_MAX ||
        (st.st_mtim.tv_sec == context->ocsp_time.tv_sec &&
         st.st_mtim.tv_nsec == context->ocsp_time.tv_nsec)) {
        return;
    }
    FILE *file = fopen(path, "rbe");
    unsigned char *data = malloc((size_t)st.st_size);
    size_t n = file && data ? fread(data, 1, (size_t)st.st_size, file) : 0;
    if (file) {
        fclose(file);
    }
    if (n == 0) {
        free(data);
        return;
    }
    pthread_rwlock_wrlock(&context->lock);
    free(context->ocsp);
    context->ocsp = data;
    context->ocsp_n = n;
    context->ocsp_time = st.st_mtim;
    pthread_rwlock_unlock(&context->lock);
}

static int on_status(SSL *ssl, void *ctx)
{
    struct tls_context *context = ctx;
    int result = SSL_TLSEXT_ERR_NOACK;
    pthread_rwlock_rdlock(&context->lock);
    unsigned char *copy = context->ocsp_n ? OPENSSL_memdup(context->ocsp, context->ocsp_n) : NULL;
    if (copy) {
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)context->ocsp_n);
        result = SSL_TLSEXT_ERR_OK;
    }
    pthread_rwlock_unlock(&context->lock);
    return result;
}

/* -- names -- */

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

/* -- the context -- */

static const char *openssl_reason(void)
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
        snprintf(error, error_size, "cannot use the %s %s: %s", what, path, openssl_reason());
    }
    BIO_free(in);
    return good ? 0 : -1;
}

static int load_pair(SSL_CTX *ctx, const char *cert, const char *key, char *error, size_t error_size)
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

static int client_certificates(SSL_CTX *ctx, const struct http_settings *s, char *error, size_t error_size)
{
    if (s->tls_client_verify == 0) {
        return 0;
    }
    if (!s->tls_client_ca) {
        snprintf(error, error_size, "http.tls_client_verify needs http.tls_client_ca");
        return -1;
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(s->tls_client_ca);
    if (!names || SSL_CTX_load_verify_locations(ctx, s->tls_client_ca, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        snprintf(error, error_size, "cannot use http.tls_client_ca = %s: %s", s->tls_client_ca,
                 openssl_reason());
        return -1;
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(
        ctx, SSL_VERIFY_PEER | (s->tls_client_verify == 2 ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    return 0;
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
    SSL_CTX_set_ex_data(ctx, context_index, context);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    if (context->settings->tls_ocsp_file) {
        SSL_CTX_set_tlsext_status_cb(ctx, on_status);
        SSL_CTX_set_tlsext_status_arg(ctx, context);
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
        snprintf(error, error_size, "OpenSSL: %s", openssl_reason());
        return -1;
    }
    context->certs[context->cert_count++] = ctx;
    set_options(ctx, context);
    const char *ciphers = s->tls_ciphers && s->tls_ciphers[0] ? s->tls_ciphers : CIPHERS;
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
        snprintf(error, error_size, "http.tls_ciphers = %s: %s", ciphers, openssl_reason());
        return -1;
    }
    return load_pair(ctx, cert, key, error, error_size) != 0 ? -1
                                                             : client_certificates(ctx, s, error, error_size);
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
    if (context_index < 0) {
        context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    }
    struct tls_context *context = xcalloc(1, sizeof *context);
    context->settings = settings;
    pthread_rwlock_init(&context->lock, NULL);
    for (int i = 0; i < TICKET_KEYS; i++) {
        rotate_keys(context);
    }
    if (add_cert(context, settings->tls_cert, settings->tls_key, error, error_size) != 0 ||
        add_more_certs(context, error, error_size) != 0) {
        tls_context_destroy(context);
        return NULL;
    }
    if (settings->tls_ocsp_file) {
        load_ocsp(context);
    }
    return context;
}

void tls_context_destroy(struct tls_context *context)
{
    for (int i = 0; i < context->cert_count; i++) {
        SSL_CTX_free(context->certs[i]);
    }
    pthread_rwlock_destroy(&context->lock);
    OPENSSL_cleanse(context->keys, sizeof context->keys);
    free(context->ocsp);
    free(context);
}

void tls_context_tick(struct tls_context *context)
{
    if (clock_us() - context->rotated_us > TICKET_ROTATE) {
        pthread_rwlock_wrlock(&context->lock);
        rotate_keys(context);
        pthread_rwlock_unlock(&context->lock);
    }
    if (context->settings->tls_ocsp_file) {
        load_ocsp(context);
    }
}

/* -- connections -- */

struct tls_conn *tls_conn_create(struct tls_context *context, int fd)
{
    struct tls_conn *t = calloc(1, sizeof *t);
    if (!t) {
        return NULL;
    }
    t->ssl = SSL_new(context->certs[0]);
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
        SSL_free(t->ssl);
        free(t);
        return NULL;
    }
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_conn_destroy(struct tls_conn *t)
{
    SSL_free(t->ssl);
    free(t);
}

/* OpenSSL's error queue is the thread's: it is empty before each call, and after it. */
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

ssize_t tls_read(struct tls_conn *t, char *p, size_t n)
{
    if (t->broken) {
        return -2;
    }
    int done = SSL_read(t->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
    if (done > 0) {
        return done;
    }
    switch (result_of(t, done)) {
    case TLS_DONE: return 0;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE: return -1;
    case TLS_FAILED: break;
    }
    return -2;
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
    return n < 16384 ? n : 16384;
}

ssize_t tls_write(struct tls_conn *t, const char *p, size_t n)
{
    size_t sent = 0;
    while (sent < n && !t->broken) {
        size_t size = t->pending ? t->pending : record_size(t, n - sent);
        int done = SSL_write(t->ssl, p + sent, (int)(size <= n - sent ? size : n - sent));
        if (done > 0) {
            t->pending = 0;
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
        ERR_clear_error();
    }
}

/* -- what PHP sees -- */

static int add_text(struct request *r, struct str name, const char *text)
{
    return text ? request_param(r, name, str_of(text)) : 0;
}

static int add_name(struct request *r, struct str name, const X509_NAME *value)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    int bad = -1;
    if (bio && X509_NAME_print_ex(bio, value, 0, XN_FLAG_RFC2253) >= 0) {
        long n = BIO_get_mem_data(bio, &text);
        bad = request_param(r, name, (struct str){text, n > 0 ? (size_t)n : 0});
    }
    BIO_free(bio);
    return bad;
}

static int add_certificate(struct request *r, X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    int bad = -1;
    if (bio && PEM_write_bio_X509(bio, cert) == 1) {
        long n = BIO_get_mem_data(bio, &text);
        bad = request_param(r, STR("SSL_CLIENT_CERT"), (struct str){text, n > 0 ? (size_t)n : 0});
    }
    BIO_free(bio);
    return bad;
}

static int add_serial(struct request *r, X509 *cert)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *text = number ? BN_bn2hex(number) : NULL;
    int bad = add_text(r, STR("SSL_CLIENT_M_SERIAL"), text);
    OPENSSL_free(text);
    BN_free(number);
    return bad;
}

static int client_params(SSL *ssl, struct request *r)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (!cert) {
        return add_text(r, STR("SSL_CLIENT_VERIFY"), "NONE");
    }
    long verdict = SSL_get_verify_result(ssl);
    int bad = add_text(r, STR("SSL_CLIENT_VERIFY"), verdict == X509_V_OK ? "SUCCESS" : "FAILED") |
              add_name(r, STR("SSL_CLIENT_S_DN"), X509_get_subject_name(cert)) |
              add_name(r, STR("SSL_CLIENT_I_DN"), X509_get_issuer_name(cert)) | add_serial(r, cert) |
              add_certificate(r, cert);
    return bad ? -1 : 0;
}

int tls_params(struct tls_conn *t, struct request *r)
{
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    int bad = add_text(r, STR("SSL_PROTOCOL"), SSL_get_version(t->ssl)) |
              add_text(r, STR("SSL_CIPHER"), SSL_get_cipher_name(t->ssl)) |
              add_text(r, STR("SSL_SESSION_RESUMED"), SSL_session_reused(t->ssl) ? "Resumed" : "Initial") |
              add_text(r, STR("SSL_TLS_SNI"), name);
    if (!bad && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE) {
        bad = client_params(t->ssl, r);
    }
    return bad ? -1 : 0;
}
