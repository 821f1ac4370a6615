/* Shared listeners. See the header. */
#include "http/site/addresses.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "http/net/front.h"

static bool given(const char *text)
{
    return text && *text;
}

/* -- addresses -- */

int addresses_each_in(const char *list, int kind, int (*fn)(void *ctx, const char *address, int kind),
                      void *ctx)
{
    struct str rest = list ? str_of(list) : (struct str){"", 0}, piece;
    while (rest.p && str_split(&rest, ',', &piece)) {
        piece = str_trim(piece);
        bool tls = str_starts(piece, STR("tls:"));
        if (tls) {
            piece = (struct str){piece.p + 4, piece.n - 4};
        }
        char *text = xstrndup(piece.p, piece.n);
        int result = piece.n ? fn(ctx, text, tls ? LISTENER_TLS : kind) : 0;
        free(text);
        if (result) {
            return result;
        }
    }
    return 0;
}

int addresses_each(const struct pool_conf *pool, int (*fn)(void *ctx, const char *address, int kind),
                   void *ctx)
{
    const struct http_settings *s = http_settings_of(pool);
    int result = addresses_each_in(s->listen, LISTENER_PLAIN, fn, ctx);
    return result ? result : addresses_each_in(s->tls_listen, LISTENER_TLS, fn, ctx);
}

static int is_same(void *ctx, const char *address, int kind)
{
    (void)kind;
    return strcmp(ctx, address) == 0;
}

const struct pool_conf *addresses_owner(const struct pool_conf *first, const char *address)
{
    const struct pool_conf *pool = first;
    while (pool && !addresses_each(pool, is_same, (void *)(uintptr_t)address)) {
        pool = pool->next;
    }
    return pool;
}

/* Does `pool` name an address that `owner` has? */
static int is_owned(void *ctx, const char *address, int kind)
{
    const struct pool_conf *owner = ctx;
    (void)kind;
    return addresses_owner(http_settings_of(owner)->config->pools, address) == owner;
}

static bool names_address_of(const struct pool_conf *pool, const struct pool_conf *owner)
{
    return addresses_each(pool, is_owned, (void *)(uintptr_t)owner) != 0;
}

bool addresses_has_one(const struct pool_conf *pool)
{
    return names_address_of(pool, pool);
}

bool addresses_are_shared(const struct pool_conf *pool, const struct pool_conf *owner)
{
    const struct http_settings *s = http_settings_of(pool);
    if (pool == owner || (!given(s->server_name) && !given(s->routes))) {
        return false;
    }
    if (!given(s->listen) && !given(s->tls_listen)) {
        return addresses_has_one(owner); /* names no address: all of them */
    }
    return names_address_of(pool, owner);
}

/* -- the internal address -- */

/* The name stays when the supervisor executes itself anew, because the processes of before still use it. It
 * is an abstract socket: no directory to write to, nothing to remove, and reachable from a chroot. Its name
 * is no secret; the listener looks at who connects. */
static const char *run_name(void)
{
    static const char variable[] = "TOKIOPHP_RUN";
    if (!getenv(variable)) {
        char text[24];
        snprintf(text, sizeof text, "%016llx", (unsigned long long)hash_seed());
        setenv(variable, text, 1);
    }
    return getenv(variable);
}

/* -1: there is no such user, which is reported when the process is made. */
static uid_t user_of(const struct pool_conf *pool)
{
    uint64_t number;
    if (geteuid() != 0 || !given(pool->s.user)) {
        return geteuid();
    }
    if (str_to_u64(str_of(pool->s.user), &number) && number < (uid_t)-1) {
        return (uid_t)number;
    }
    const struct passwd *user = getpwnam(pool->s.user);
    return user ? user->pw_uid : (uid_t)-1;
}

static void allow(struct pool_conf *pool, const struct pool_conf *owner)
{
    if (!pool->internal_listen) {
        pool->internal_listen = xasprintf("@tokiophp-%s-%s", run_name(), pool->name);
    }
    pool->internal_users =
        xrealloc(pool->internal_users, (pool->internal_user_count + 1) * sizeof *pool->internal_users);
    pool->internal_users[pool->internal_user_count++] = user_of(owner);
}

/* -- the check -- */

/* An address that another pool has is of no use to a pool that claims nothing there. */
static int check_silent(const struct config *config, const struct pool_conf *pool)
{
    for (const struct pool_conf *owner = config->pools; owner && owner != pool; owner = owner->next) {
        if (names_address_of(pool, owner)) {
            log_alert("[pool %s] http.listen names an address of pool %s: it needs http.server_name or "
                      "http.routes",
                      pool->name, owner->name);
            return -1;
        }
    }
    return 0;
}

static int check_claimer(const struct config *config, struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    bool heard = addresses_has_one(pool);
    if (!given(s->server_name) && !given(s->routes)) {
        return check_silent(config, pool);
    }
    for (struct pool_conf *owner = config->pools; owner; owner = owner->next) {
        if (addresses_are_shared(pool, owner)) {
            heard = true;
            allow(pool, owner);
        }
    }
    if (!heard) {
        log_alert("[pool %s] http.server_name and http.routes need a pool with http.listen", pool->name);
        return -1;
    }
    if (!given(s->routes) && !given(s->document_root)) {
        log_alert("[pool %s] http.server_name needs http.document_root", pool->name);
        return -1;
    }
    return 0;
}

int addresses_check(const struct config *config, const struct pool_conf *pool)
{
    http_settings_of(pool)->config = config;
    if (pool->next) {
        return 0;
    }
    for (struct pool_conf *one = config->pools; one; one = one->next) {
        if (check_claimer(config, one) != 0) {
            return -1;
        }
    }
    return 0;
}
