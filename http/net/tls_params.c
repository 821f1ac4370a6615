/* What PHP sees of TLS: the protocol, the cipher, and the client's certificate, as Apache's mod_ssl names
 * them. */
#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "http/net/tls_private.h"

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
