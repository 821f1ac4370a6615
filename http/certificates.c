/* Certificates of pools: checked, inherited, read again. See the header. */
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
        return 0;
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

struct search {
    const char *path;
    bool found;
};

static void compare(const char *path, void *ctx)
{
    struct search *search = ctx;
    search->found |= strcmp(path, search->path) == 0;
}

/* Does its process need what that pool names? Its own, and those of the hosts that others have on its
 * listeners. */
static bool holds_files_of(const struct pool_conf *owner, const struct pool_conf *pool)
{
    return pool == owner || addresses_are_shared(pool, owner);
}

static bool needs_file(const char *path, const void *ctx)
{
    const struct pool_conf *owner = ctx;
    struct search search = {.path = path};
    for (const struct pool_conf *pool = http_settings_of(owner)->config->pools; pool; pool = pool->next) {
        if (holds_files_of(owner, pool)) {
            certificates_files(pool, compare, &search);
        }
    }
    return search.found;
}

void certificates_forget(const struct pool_conf *pool)
{
    pem_forget(certificates_wanted(pool) ? needs_file : NULL, pool);
}

/* -- once more -- */

enum renewal { AS_BEFORE, RENEWED, REFUSED };

static void renew_file(const char *path, void *renewed)
{
    *(bool *)renewed |= pem_renew(path);
}

static void settle_file(const char *path, void *good)
{
    pem_settle(path, *(bool *)good);
}

static enum renewal renew(const struct config *config, const struct pool_conf *pool)
{
    bool renewed = false;
    certificates_files(pool, renew_file, &renewed);
    if (!renewed) {
        return AS_BEFORE;
    }
    if (certificates_check(config, pool) != 0) {
        log_error("[pool %s] its certificates have changed, but cannot be used: those before them stay",
                  pool->name);
        return REFUSED;
    }
    return RENEWED;
}

static void settle(const struct config *config, const enum renewal *what, enum renewal which)
{
    bool good = which == RENEWED;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next, what++) {
        if (*what == which) {
            certificates_files(pool, settle_file, &good);
        }
    }
}

static bool is_outdated(const struct config *config, const enum renewal *what, const struct pool_conf *owner)
{
    bool outdated = false;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next, what++) {
        outdated |= *what == RENEWED && holds_files_of(owner, pool);
    }
    return outdated && certificates_wanted(owner);
}

/* Each pool by itself: one whose files are no good keeps no other from having its own. */
void certificates_renew(const struct config *config,
                        void (*outdated)(const struct pool_conf *pool, void *ctx), void *ctx)
{
    size_t count = 0;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        count++;
    }
    enum renewal *what = xcalloc(count + 1, sizeof *what), *next = what;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        *next++ = renew(config, pool);
    }
    settle(config, what, REFUSED);
    settle(config, what, RENEWED);
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        if (is_outdated(config, what, pool)) {
            outdated(pool, ctx);
        }
    }
    free(what);
}
