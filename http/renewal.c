/* Certificates and passwords once more. See the header. */
#include "http/renewal.h"

#include <stdlib.h>

#include "engine/base/log.h"
#include "http/certificates.h"
#include "http/http_settings.h"
#include "http/inherited.h"
#include "http/net/pem.h"
#include "http/site/basic_auth.h"

enum renewal { AS_BEFORE, RENEWED, REFUSED };

/* Each is judged by itself: a file of passwords that is no good keeps no certificate from being renewed. */
struct kind {
    const char *name;
    void (*files)(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx);
    int (*check)(const struct config *config, const struct pool_conf *pool); /* 0, or -1: reported */
};

static void password_files(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx)
{
    basic_auth_files(http_settings_of(pool), each, ctx);
}

static int check_passwords(const struct config *config, const struct pool_conf *pool)
{
    char error[512];
    (void)config;
    if (basic_auth_check(http_settings_of(pool), error, sizeof error) == 0) {
        return 0;
    }
    log_alert("[pool %s] %s", pool->name, error);
    return -1;
}

static const struct kind kinds[] = {{"certificates", certificates_files, certificates_check},
                                    {"passwords", password_files, check_passwords}};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* All pools' files of one kind. */
struct round {
    const struct config *config;
    const struct kind *kind;
    enum renewal *what; /* of each pool, in the configuration's order */
    bool kept;          /* take_back() has left a file as it is now */
};

static void renew_file(const char *path, void *renewed)
{
    *(bool *)renewed |= pem_renew(path);
}

static void settle_file(const char *path, void *good)
{
    pem_settle(path, *(bool *)good);
}

static void settle_all(const struct round *r, const struct pool_conf *pool, bool good)
{
    r->kind->files(pool, settle_file, &good);
}

static enum renewal renew(const struct round *r, const struct pool_conf *pool)
{
    bool renewed = false;
    r->kind->files(pool, renew_file, &renewed);
    if (!renewed) {
        return AS_BEFORE;
    }
    if (r->kind->check(r->config, pool) == 0) {
        return RENEWED;
    }
    log_error("[pool %s] its %s have changed, but cannot be used: those before them stay", pool->name,
              r->kind->name);
    return REFUSED;
}

static bool is_of_renewed(const struct round *r, const char *path)
{
    struct inherited_search search = {.path = path};
    const enum renewal *what = r->what;
    for (const struct pool_conf *pool = r->config->pools; pool; pool = pool->next, what++) {
        if (*what == RENEWED) {
            r->kind->files(pool, inherited_compare, &search);
        }
    }
    return search.found;
}

/* But for what other pools can use. */
static void take_back(const char *path, void *ctx)
{
    struct round *r = ctx;
    bool used = is_of_renewed(r, path);
    r->kept |= used;
    if (!used) {
        pem_settle(path, false);
    }
}

/* What is no good of a pool's goes back, and if the rest cannot be used without it, all of it. */
static void refuse(struct round *r, const struct pool_conf *pool, enum renewal *what)
{
    r->kept = false;
    r->kind->files(pool, take_back, r);
    if (r->kept && r->kind->check(r->config, pool) == 0) {
        *what = RENEWED;
    } else {
        settle_all(r, pool, false);
    }
}

/* That pool may have taken something back from this one. True: it has, and this one's goes back, too. */
static bool suffers(const struct round *r, const struct pool_conf *pool, enum renewal *what)
{
    if (*what != RENEWED || r->kind->check(r->config, pool) == 0) {
        return false;
    }
    *what = REFUSED;
    settle_all(r, pool, false);
    return true;
}

static void settle(struct round *r)
{
    bool refused = false;
    enum renewal *what = r->what;
    for (const struct pool_conf *pool = r->config->pools; pool; pool = pool->next, what++) {
        if (*what == REFUSED) {
            refused = true;
            refuse(r, pool, what);
        }
    }
    while (refused) {
        refused = false;
        what = r->what;
        for (const struct pool_conf *pool = r->config->pools; pool; pool = pool->next, what++) {
            refused |= suffers(r, pool, what);
        }
    }
    what = r->what;
    for (const struct pool_conf *pool = r->config->pools; pool; pool = pool->next, what++) {
        if (*what == RENEWED) {
            settle_all(r, pool, true);
        }
    }
}

/* Does this pool's process hold what has been renewed? */
static bool is_outdated(const struct round *r, const struct pool_conf *owner)
{
    bool outdated = false, all = r->kind->files == password_files || certificates_wanted(owner);
    const enum renewal *what = r->what;
    for (const struct pool_conf *pool = r->config->pools; pool; pool = pool->next, what++) {
        outdated |= all && *what == RENEWED && inherited_holds(owner, pool);
    }
    return outdated;
}

void renewal_look(const struct config *config, void (*outdated)(const struct pool_conf *pool, void *ctx),
                  void *ctx)
{
    size_t count = 0, i = 0;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        count++;
    }
    bool *swaps = xcalloc(count + 1, sizeof *swaps);
    struct round r = {.config = config, .what = xcalloc(count + 1, sizeof *r.what)};
    for (r.kind = kinds; r.kind < kinds + KINDS; r.kind++) {
        i = 0;
        for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
            r.what[i++] = renew(&r, pool);
        }
        settle(&r);
        i = 0;
        for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
            swaps[i++] |= is_outdated(&r, pool);
        }
    }
    i = 0;
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        if (swaps[i++]) {
            outdated(pool, ctx);
        }
    }
    free(r.what);
    free(swaps);
}
