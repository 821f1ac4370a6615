/* Certificates of pools, and whether they can be used. See the header. */
#include "http/certificates.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "http/http_settings.h"
#include "http/net/conn.h"
#include "http/net/pem.h"
#include "http/net/tls.h"
#include "http/net/tls_self_signed.h"
#include "http/site/addresses.h"

/* -- addresses -- */

static int count_tls(void *ctx, const char *address, int kind)
{
    (void)address;
    *(bool *)ctx |= kind == LISTENER_TLS;
    return 0;
}

bool certificates_wanted(const struct pool_conf *pool)
{
    bool tls = false;
    addresses_each(pool, count_tls, &tls);
    return tls;
}

static int stop_at_first(void *ctx, const char *address, int kind)
{
    (void)ctx;
    (void)address;
    (void)kind;
    return 1;
}

/* By a pool that has TLS on no address of its own: when it answers for a name on another's. */
static bool is_used_elsewhere(const struct config *config, const struct pool_conf *pool)
{
    bool elsewhere = false;
    for (const struct pool_conf *other = config->pools; other; other = other->next) {
        elsewhere |= certificates_wanted(other);
    }
    return elsewhere && addresses_each(pool, stop_at_first, NULL) == 0;
}

/* -- the check -- */

static int complain(const struct pool_conf *pool, const char *text)
{
    log_alert("[pool %s] %s", pool->name, text);
    return -1;
}

int certificates_make(struct pool_conf *pool)
{
    struct http_settings *s = http_settings_of(pool);
    char error[512];
    if (certificates_wanted(pool) || s->tls_cert || s->tls_client_ca) {
        tls_memory_wipe(); /* before anything is asked of OpenSSL for this pool */
    }
    if (!s->tls_self_signed || s->tls_cert || s->tls_key) {
        return 0;
    }
    return tls_self_signed(&s->tls_cert, &s->tls_key, error, sizeof error) == 0 ? 0 : complain(pool, error);
}

int certificates_check(const struct config *config, const struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    if (!certificates_wanted(pool) && s->tls_cert && !is_used_elsewhere(config, pool)) {
        return complain(
            pool, "no address of http.tls_cert speaks TLS: name it in http.tls_listen, or as tls:ADDRESS in "
                  "http.listen");
    }
    char error[512];
    if (tls_check_clients(s, error, sizeof error) != 0) {
        return complain(pool, error);
    }
    if (!certificates_wanted(pool) && !s->tls_cert) {
        return s->tls_key ? complain(pool, "http.tls_key without http.tls_cert: name the certificate, too")
                          : 0;
    }
    if (!s->tls_cert || !s->tls_key) {
        return complain(pool, "a TLS address needs http.tls_cert and http.tls_key");
    }
    const struct tls_host host = {.names = s->server_name, .settings = s};
    struct tls_context *context = tls_context_create(&host, 1, error, sizeof error);
    if (!context) {
        return complain(pool, error);
    }
    tls_context_destroy(context);
    return 0;
}

/* -- the files -- */

void certificates_files(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx)
{
    const struct http_settings *s = http_settings_of(pool);
    const char *const single[] = {s->tls_cert, s->tls_key, s->tls_client_ca};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        if (single[i]) {
            each(single[i], ctx);
        }
    }
    char *pairs = s->tls_certs ? xstrdup(s->tls_certs) : NULL, *rest = NULL; /* "cert:key cert:key" */
    for (char *path = pairs ? strtok_r(pairs, " :", &rest) : NULL; path; path = strtok_r(NULL, " :", &rest)) {
        each(path, ctx);
    }
    free(pairs);
}
