/* Files that engine processes inherit as text. See the header. */
#include "http/inherited.h"

#include <string.h>

#include "http/certificates.h"
#include "http/http_settings.h"
#include "http/net/pem.h"
#include "http/site/addresses.h"
#include "http/site/basic_auth.h"

/* What a process of this pool may need, by the settings of a pool that it answers for. */
static void files_of(const struct pool_conf *pool, bool tls, void (*each)(const char *path, void *ctx),
                     void *ctx)
{
    if (tls) {
        certificates_files(pool, each, ctx);
    }
    basic_auth_files(http_settings_of(pool), each, ctx);
}

void inherited_files(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx)
{
    files_of(pool, true, each, ctx);
}

void inherited_compare(const char *path, void *ctx)
{
    struct inherited_search *search = ctx;
    search->found |= strcmp(path, search->path) == 0;
}

bool inherited_holds(const struct pool_conf *owner, const struct pool_conf *pool)
{
    return pool == owner || addresses_are_shared(pool, owner);
}

static bool needs_file(const char *path, const void *ctx)
{
    const struct pool_conf *owner = ctx;
    struct inherited_search search = {.path = path};
    for (const struct pool_conf *pool = http_settings_of(owner)->config->pools; pool; pool = pool->next) {
        if (inherited_holds(owner, pool)) {
            files_of(pool, certificates_wanted(owner), inherited_compare, &search);
        }
    }
    return search.found;
}

void inherited_forget(const struct pool_conf *pool)
{
    bool serves = pool && http_settings_of(pool)->config != NULL; /* else it is another one's tasks */
    pem_forget(serves ? needs_file : NULL, pool);
}
