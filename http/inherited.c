/* Files that engine processes inherit as text. See the header. */
#include "http/inherited.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "http/certificates.h"
#include "http/http_settings.h"
#include "http/net/pem.h"
#include "http/site/addresses.h"
#include "http/site/basic_auth.h"

/* -- whose -- */

struct search {
    const char *path;
    bool found;
};

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
            files_of(pool, certificates_wanted(owner), compare, &search);
        }
    }
    return search.found;
}

void inherited_forget(const struct pool_conf *pool)
{
    bool serves = http_settings_of(pool)->config != NULL; /* else it is another one's tasks */
    pem_forget(serves ? needs_file : NULL, pool);
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
    inherited_files(pool, renew_file, &renewed);
    if (!renewed) {
        return AS_BEFORE;
    }
    char error[512] = "";
    if (certificates_check(config, pool) == 0 &&
        basic_auth_check(http_settings_of(pool), error, sizeof error) == 0) {
        return RENEWED;
    }
    log_error("[pool %s] its certificates or passwords have changed, but cannot be used: those before them "
              "stay%s%s",
              pool->name, *error ? ": " : "", error);
    return REFUSED;
}

static void settle(const struct config *config, const enum renewal *what, enum renewal which)
{
    bool good = which == RENEWED;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next, what++) {
        if (*what == which) {
            inherited_files(pool, settle_file, &good);
        }
    }
}

static bool is_outdated(const struct config *config, const enum renewal *what, const struct pool_conf *owner)
{
    bool outdated = false;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next, what++) {
        bool held = certificates_wanted(owner) || http_settings_of(pool)->basic_auth;
        outdated |= *what == RENEWED && held && holds_files_of(owner, pool);
    }
    return outdated;
}

/* Each pool by itself: one whose files are no good keeps no other from having its own. */
void inherited_renew(const struct config *config, void (*outdated)(const struct pool_conf *pool, void *ctx),
                     void *ctx)
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
