/* Certificates of clients: who is asked for one, and whose are believed. What is asked is the host's that the
 * client names, so it is set on each connection, before OpenSSL looks for a session to resume: one that was
 * made where less is asked must not be good enough. */
#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "http/net/pem.h"
#include "http/net/tls_private.h"

static bool add_authority(struct tls_clients *clients, X509 *cert)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));
    if (!name || sk_X509_NAME_push(clients->names, name) == 0) {
        X509_NAME_free(name);
        return false;
    }
    return X509_STORE_add_cert(clients->authorities, cert) == 1;
}

static bool read_authorities(struct tls_clients *clients, BIO *in)
{
    X509 *cert;
    bool good = true;
    while (good && (cert = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL))) {
        good = add_authority(clients, cert);
        X509_free(cert);
    }
    /* The last read found no further certificate, which is the end, or a damaged one. */
    return good && sk_X509_NAME_num(clients->names) > 0 &&
           ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

static int load_authorities(struct tls_clients *clients, const char *path, char *error, size_t error_size)
{
    struct str text = pem_load(path);
    if (!text.p) {
        snprintf(error, error_size, "cannot use http.tls_client_ca = %s: %s", path, strerror(errno));
        return -1;
    }
    ERR_clear_error();
    clients->authorities = X509_STORE_new();
    clients->names = sk_X509_NAME_new_null();
    BIO *in = BIO_new_mem_buf(text.p, (int)text.n);
    bool good = clients->authorities && clients->names && in && read_authorities(clients, in);
    if (!good) {
        snprintf(error, error_size, "cannot use http.tls_client_ca = %s: %s", path, tls_reason());
    }
    ERR_clear_error();
    BIO_free(in);
    return good ? 0 : -1;
}

/* The id is the same in every process of this configuration. */
static void make_id(const struct http_settings *s, struct tls_clients *out)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = s->tls_client_ca; out->mode != SSL_VERIFY_NONE && *p; p++) {
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    }
    char text[sizeof out->id];
    int n = out->mode == SSL_VERIFY_NONE
                ? snprintf(text, sizeof text, "tokiophp")
                : snprintf(text, sizeof text, "tokiophp-%d-%016" PRIx64, s->tls_client_verify, hash);
    memcpy(out->id, text, (size_t)n);
    out->id_n = (unsigned)n;
}

int tls_clients_make(const struct tls_host *host, struct tls_clients *out, char *error, size_t error_size)
{
    const struct http_settings *s = host->settings;
    *out = (struct tls_clients){.mode = SSL_VERIFY_NONE};
    if (s->tls_client_verify != 0) {
        out->mode = SSL_VERIFY_PEER | (s->tls_client_verify == 2 ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
        if (!s->tls_client_ca) {
            snprintf(error, error_size, "http.tls_client_verify needs http.tls_client_ca");
            return -1;
        }
        if (load_authorities(out, s->tls_client_ca, error, error_size) != 0) {
            return -1;
        }
    }
    make_id(s, out);
    return 0;
}

void tls_clients_clear(struct tls_clients *clients)
{
    X509_STORE_free(clients->authorities);
    sk_X509_NAME_pop_free(clients->names, X509_NAME_free);
    *clients = (struct tls_clients){0};
}

bool tls_clients_apply(const struct tls_clients *clients, SSL *ssl)
{
    SSL_set_verify(ssl, clients->mode, NULL);
    if (SSL_set_session_id_context(ssl, clients->id, clients->id_n) != 1) {
        return false;
    }
    if (clients->mode == SSL_VERIFY_NONE) {
        return true;
    }
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(clients->names);
    SSL_set_client_CA_list(ssl, names); /* takes them */
    return names && SSL_set1_verify_cert_store(ssl, clients->authorities) == 1;
}

int tls_check_clients(const struct http_settings *settings, char *error, size_t error_size)
{
    const struct tls_host host = {.settings = settings};
    struct tls_clients clients;
    int bad = tls_clients_make(&host, &clients, error, error_size);
    tls_clients_clear(&clients);
    return bad;
}
