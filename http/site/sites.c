/* Sites and targets of a process's listeners. See the header. */
#include "http/site/sites.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/content/error_pages.h"
#include "http/content/static.h"
#include "http/site/claims.h"
#include "http/site/route.h"
#include "http/upstream/upstream.h"
#include "http/wire/path.h"
#include "http/wire/pattern.h"

#define GRACE_US    (5 * CLOCK_US_PER_SECOND)
#define FOREIGN_MAX 4096 /* requests at a time with a server that is not ours */

/* Another pool of ours, or a FastCGI server; in a list, because rules point to it. */
struct target {
    struct upstream_target upstream;
    char *name;
    struct target *next;
};

/* A whole host. */
struct host_rule {
    struct http_site *site;
    struct upstream_target *target;
    struct host_rule *next; /* file order */
};

/* Some paths; first match in file order. */
struct path_rule {
    const char *names;              /* hosts, NULL = any */
    const char *patterns;           /* separated by blanks */
    const struct http_site *within; /* only requests of this site; NULL = any */
    struct http_site *site;         /* NULL = the host's */
    struct upstream_target *target;
    bool foreign;
    struct path_rule *next;
};

struct sites {
    const struct pool_conf *pool;
    struct compress_pool *compressors;
    struct http_site *main;
    struct host_rule *hosts;
    struct path_rule *paths;
    struct target *targets;
};

static bool given(const char *text)
{
    return text && *text;
}

/* -- a site -- */

static void site_destroy(struct http_site *site)
{
    if (site) {
        router_destroy(site->router);
        static_files_destroy(site->files);
        if (site->pages) {
            error_pages_destroy(site->pages);
        }
        free(site);
    }
}

static struct http_site *site_create(const struct pool_conf *pool, struct compress_pool *compressors)
{
    const struct http_settings *s = http_settings_of(pool);
    struct http_site *site = xcalloc(1, sizeof *site);
    site->conf = pool;
    site->settings = s;
    site->router = router_create(s, pool->s.limit_extensions);
    site->files = static_files_create(s, compressors);
    site->pages = error_pages_load(s->error_pages_dir);
    if (s->security_headers) {
        security_headers_init(&site->security, s);
    }
    if (!site->router || !site->files || !site->pages) {
        log_alert("[pool %s] cannot serve %s", pool->name, s->document_root);
        site_destroy(site);
        return NULL;
    }
    return site;
}

/* -- targets -- */

static struct upstream_target *add_target(struct sites *sites, char *name, const char *address)
{
    struct target *target = xcalloc(1, sizeof *target);
    char error[256];
    target->name = name;
    target->upstream.name = name;
    if (sock_parse(address, &target->upstream.address, error, sizeof error) != 0) {
        log_alert("[pool %s] %s: %s", sites->pool->name, name, error);
        free(name);
        free(target);
        return NULL;
    }
    target->next = sites->targets;
    sites->targets = target;
    return &target->upstream;
}

/* How long that pool may keep a request, in its queue and in its script, before it answers by itself. */
static uint64_t pool_wait_us(const struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    int64_t script =
        pool->s.request_terminate_timeout ? pool->s.request_terminate_timeout : s->stream_timeout;
    int64_t seconds = script ? script + s->queue_timeout : 86400;
    return (uint64_t)seconds * CLOCK_US_PER_SECOND + GRACE_US;
}

static struct upstream_target *add_pool_target(struct sites *sites, const struct pool_conf *pool)
{
    struct upstream_target *target =
        add_target(sites, xasprintf("pool %s", pool->name), pool->internal_listen);
    if (target) {
        int64_t capacity = http_settings_of(pool)->queue_capacity;
        target->keep_alive = true; /* idle connections hold no worker of ours */
        target->ours = true;
        target->wait_us = pool_wait_us(pool);
        target->capacity = capacity ? capacity : pool->s.max_children * 100;
    }
    return target;
}

/* -- rules -- */

static struct path_rule *add_path_rule(struct sites *sites, struct path_rule rule)
{
    struct path_rule **last = &sites->paths;
    while (*last) {
        last = &(*last)->next;
    }
    *last = xcalloc(1, sizeof rule);
    **last = rule;
    return *last;
}

/* http.upstream[PATTERN] = ADDRESS of a pool, within its own site. */
static int add_upstreams(struct sites *sites, const struct http_site *site)
{
    const struct http_settings *s = site->settings;
    for (const struct setting_pair *p = s->upstream; p; p = p->next) {
        struct upstream_target *target = add_target(sites, xasprintf("upstream %s", p->value), p->value);
        if (!target) {
            return -1;
        }
        target->keep_alive = s->upstream_keep_alive;
        target->wait_us = (uint64_t)s->upstream_timeout * CLOCK_US_PER_SECOND;
        target->capacity = FOREIGN_MAX;
        add_path_rule(
            sites, (struct path_rule){.patterns = p->key, .within = site, .target = target, .foreign = true});
    }
    return 0;
}

static struct http_site *add_host_rule(struct sites *sites, const struct pool_conf *pool,
                                       struct upstream_target *target)
{
    struct host_rule **last = &sites->hosts;
    while (*last) {
        last = &(*last)->next;
    }
    struct http_site *site = site_create(pool, sites->compressors);
    if (site) {
        *last = xcalloc(1, sizeof **last);
        **last = (struct host_rule){.site = site, .target = target};
    }
    return site;
}

/* A pool that claims paths has files of its own, or uses those of the host's site. */
static int add_routes(struct sites *sites, const struct pool_conf *pool, struct upstream_target *target)
{
    const struct http_settings *s = http_settings_of(pool);
    struct path_rule *rule = add_path_rule(
        sites,
        (struct path_rule){.names = given(s->server_name) && pool != sites->pool ? s->server_name : NULL,
                           .patterns = s->routes,
                           .target = target});
    if (pool == sites->pool || !given(s->document_root)) {
        return 0;
    }
    rule->site = site_create(pool, sites->compressors);
    return rule->site ? 0 : -1;
}

static int add_pool(struct sites *sites, const struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    struct upstream_target *target = NULL;
    if (pool != sites->pool && !(target = add_pool_target(sites, pool))) {
        return -1;
    }
    if (given(s->routes)) {
        return add_routes(sites, pool, target);
    }
    struct http_site *site = sites->main;
    if (pool != sites->pool && !(site = add_host_rule(sites, pool, target))) {
        return -1;
    }
    return pool == sites->pool ? 0 : add_upstreams(sites, site);
}

/* -- life -- */

void sites_destroy(struct sites *sites)
{
    if (!sites) {
        return;
    }
    for (struct host_rule *rule = sites->hosts, *next; rule; rule = next) {
        next = rule->next;
        site_destroy(rule->site);
        free(rule);
    }
    for (struct path_rule *rule = sites->paths, *next; rule; rule = next) {
        next = rule->next;
        site_destroy(rule->site);
        free(rule);
    }
    for (struct target *target = sites->targets, *next; target; target = next) {
        next = target->next;
        free(target->name);
        free(target);
    }
    site_destroy(sites->main);
    free(sites);
}

struct sites *sites_create(const struct pool_conf *pool, struct compress_pool *compressors)
{
    struct sites *sites = xcalloc(1, sizeof *sites);
    sites->pool = pool;
    sites->compressors = compressors;
    sites->main = site_create(pool, sites->compressors);
    bool bad = !sites->main || add_upstreams(sites, sites->main) != 0;
    for (const struct pool_conf *p = http_settings_of(pool)->config->pools; !bad && p; p = p->next) {
        bad = (p == pool || claims_on(p, pool)) && add_pool(sites, p) != 0;
    }
    if (bad) {
        sites_destroy(sites);
        return NULL;
    }
    return sites;
}

const struct http_site *sites_main(const struct sites *sites)
{
    return sites->main;
}

/* -- choosing -- */

static bool is_listed(const char *patterns, struct str path)
{
    struct str rest = str_of(patterns), pattern;
    while (str_word(&rest, &pattern)) {
        if (pattern_match(pattern, path)) {
            return true;
        }
    }
    return false;
}

static void choose_host(const struct sites *sites, struct str host, struct site_choice *out)
{
    unsigned best = host.p ? pattern_host(sites->main->settings->server_name, host) : 0;
    for (const struct host_rule *rule = sites->hosts; host.p && rule; rule = rule->next) {
        unsigned fit = pattern_host(rule->site->settings->server_name, host);
        if (fit > best) {
            best = fit;
            out->site = rule->site;
            out->target = rule->target;
        }
    }
}

static bool applies(const struct path_rule *rule, const struct http_site *site, struct str host,
                    struct str path)
{
    return (!rule->within || rule->within == site) &&
           (!rule->names || (host.p && pattern_host(rule->names, host))) && is_listed(rule->patterns, path);
}

/* Patterns are held against the path that an application sees, not against what was sent: "/%68eavy" is
 * "/heavy". Every path that the router (route.c) makes something of has such a text. */
static void choose_path(const struct sites *sites, struct str host, struct str raw, struct site_choice *out)
{
    char path[PATH_TEXT_MAX + 1];
    int n = path_text(raw, path);
    for (const struct path_rule *rule = sites->paths; n > 0 && rule; rule = rule->next) {
        if (applies(rule, out->site, host, (struct str){path, (size_t)n})) {
            out->site = rule->site ? rule->site : out->site;
            out->target = rule->target;
            out->foreign = rule->foreign;
            return;
        }
    }
}

struct site_choice sites_choose(const struct sites *sites, struct str host, struct str path)
{
    struct site_choice choice = {.site = sites->main};
    choose_host(sites, host, &choice);
    if (sites->paths) {
        choose_path(sites, host, path, &choice);
    }
    return choice;
}
