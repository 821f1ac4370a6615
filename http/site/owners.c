/* Settings that would be without effect where they are given. See the header. A pool that serves no HTTP may
 * have any: it may get an address tomorrow. */
#include "http/site/owners.h"

#include "engine/base/log.h"
#include "http/http_settings.h"
#include "http/net/front.h"
#include "http/site/addresses.h"

static bool has(const char *text)
{
    return text && *text;
}

static int is_tls(void *ctx, const char *address, int kind)
{
    (void)ctx;
    (void)address;
    return kind == LISTENER_TLS;
}

/* Does any client shake hands with it? */
static bool speaks_tls(const struct config *config, const struct pool_conf *pool)
{
    for (const struct pool_conf *owner = config->pools; owner; owner = owner->next) {
        bool there = owner == pool ? addresses_has_one(pool) : addresses_are_shared(pool, owner);
        if (there && addresses_each(owner, is_tls, NULL)) {
            return true;
        }
    }
    return false;
}

static int refuse(const struct pool_conf *pool, const char *name, const char *why)
{
    log_alert("[pool %s] %s has no effect here: %s", pool->name, name, why);
    return -1;
}

/* Why a row is nothing for a pool that only answers on the listeners of others; NULL: it counts. */
static const char *fault_of(const struct setting_row *row, const struct http_settings *s)
{
    bool paths = has(s->routes);
    switch (row->owner) {
    case OWNER_LISTENER: return "it is the listener's, and belongs into the pool that has the address";
    case OWNER_HOST: return paths ? "it is a host's, and a pool with http.routes has only paths" : NULL;
    case OWNER_FILES:
        return paths && !has(s->document_root) ? "without http.document_root the files are those of the host"
                                               : NULL;
    case OWNER_SITE:
    case OWNER_POOL: break;
    }
    return NULL;
}

static int check_claimer(const struct setting_table *table, const struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        const char *fault = settings_given(row, s) ? fault_of(row, s) : NULL;
        if (fault) {
            return refuse(pool, row->name, fault);
        }
    }
    bool some_rate = s->given.rate_window || s->given.rate_kind;
    if (has(s->routes) && !has(s->document_root) && some_rate && !s->given.rate_limit) {
        return refuse(pool, s->given.rate_window ? "http.rate_window" : "http.rate_kind",
                      "it needs http.rate_limit");
    }
    return 0;
}

int owners_check(const struct setting_table *table, const struct config *config, const struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    bool claims = has(s->server_name) || has(s->routes), listens = addresses_has_one(pool);
    if ((claims || listens) && s->tls_client_verify != 0 && !speaks_tls(config, pool)) {
        return refuse(pool, "http.tls_client_verify", "no address of this pool speaks TLS");
    }
    return claims && !listens ? check_claimer(table, pool) : 0;
}
