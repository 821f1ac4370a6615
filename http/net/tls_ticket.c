/* Session tickets: a client that comes back brings its session along, so the server keeps no memory for it.
 * The keys are the pool's, the same in all its processes: a ticket that one made, another opens. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "http/net/tls_private.h"

#define IN_USE 1 /* of struct pool_keys */

struct ticket_key {
    unsigned char name[16], cipher[32], mac[32];
};

struct tls_tickets {
    pthread_rwlock_t lock;
    struct ticket_key keys[POOL_KEYS]; /* as in struct pool_keys; guarded by lock */
};
_Static_assert(sizeof(struct ticket_key) == POOL_KEY_BYTES, "a pool's key is one of tickets");

static int tickets_index = -1; /* of an SSL_CTX's tickets; main thread, before the loops start */

/* Until the pool's keys come, tickets are this process's alone. */
struct tls_tickets *tls_tickets_create(void)
{
    struct tls_tickets *tickets = xcalloc(1, sizeof *tickets);
    pthread_rwlock_init(&tickets->lock, NULL);
    if (RAND_bytes((unsigned char *)tickets->keys, sizeof tickets->keys) != 1) {
        log_limited(LEVEL_ERROR, "TLS: no random bytes for a ticket key");
    }
    return tickets;
}

void tls_tickets_rekey(struct tls_tickets *tickets, const struct pool_keys *keys)
{
    pthread_rwlock_wrlock(&tickets->lock);
    memcpy(tickets->keys, keys->key, sizeof tickets->keys);
    pthread_rwlock_unlock(&tickets->lock);
}

void tls_tickets_destroy(struct tls_tickets *tickets)
{
    pthread_rwlock_destroy(&tickets->lock);
    OPENSSL_cleanse(tickets->keys, sizeof tickets->keys);
    free(tickets);
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
    struct tls_tickets *tickets = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tickets_index);
    struct ticket_key key;
    int which = enc ? IN_USE : 0;
    pthread_rwlock_rdlock(&tickets->lock);
    if (!enc) {
        while (which < POOL_KEYS && memcmp(name, tickets->keys[which].name, 16) != 0) {
            which++;
        }
    }
    if (which < POOL_KEYS) {
        key = tickets->keys[which];
    }
    pthread_rwlock_unlock(&tickets->lock);
    if (which == POOL_KEYS) {
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
    return ok ? (which > IN_USE ? 2 : 1) : -1; /* 2: opened, but make a new one */
}

void tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx)
{
    if (tickets_index < 0) {
        tickets_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    }
    SSL_CTX_set_ex_data(ctx, tickets_index, tickets);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
