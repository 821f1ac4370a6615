/* Sites and targets of a process's listeners. See the header. */
#include "http/site/sites.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/pattern.h"
#include "http/content/error_pages.h"
#include "http/content/static.h"
#include "http/net/limits.h"
#include "http/site/addresses.h"
#include "http/site/basic_auth.h"
#include "http/site/route.h"
#include "http/upstream/upstream.h"
#include "http/wire/host_pattern.h"
#include "http/wire/path.h"

#define GRACE_US    (5 * CLOCK_US_PER_SECOND)
#define FOREIGN_MAX 4096  /* requests at a time with a server that is not ours */
#define RATE_TABLE  65536 /* client addresses that a site remembers */

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
    struct guest *guest;
    unsigned client_rule;
    size_t number;          /* from 1 on; 0 is the listener's own */
    struct host_rule *next; /* file order */
};

/* A path's pool without a document root, on one host: that host's site, but for what the pool sets itself. */
struct variant {
    struct http_site site;
    struct http_settings settings; /* its texts are borrowed */
};

/* Some paths; first match in file order. */
struct path_rule {
    const char *names;              /* hosts, NULL = any */
    const char *patterns;           /* separated by blanks */
    const struct http_site *within; /* only requests of this site; NULL = any */
    struct http_site *site;         /* NULL = the host's */
    struct http_site *own;          /* what its settings make, for the variants; NULL: there are none */
    struct variant *variants;       /* by the host's number; NULL: no difference to the host's site */
    struct upstream_target *target;
    struct guest *guest; /* as of a choice; of a foreign target: the host's, whatever is here */
    bool foreign;
    struct path_rule *next;
};

struct sites {
    const struct pool_conf *pool;
    const struct pool *process; /* whose guests the others are */
    struct helper_pool *helpers;
    struct http_site *main;
    unsigned client_rule; /* of its host */
    struct host_rule *hosts;
    size_t host_count;
    struct path_rule *paths;
    struct target *targets;
    struct tls_host *tls; /* [0] is the listener's own */
    size_t tls_count;
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
        if (site->trusted) {
            cidr_list_free((struct cidr_list *)(uintptr_t)site->trusted);
        }
        if (site->rate) {
            rate_limit_destroy(site->rate);
        }
        basic_auth_destroy(site->auth);
        free(site);
    }
}

static struct rate_limit *rate_of(const struct http_settings *s)
{
    uint64_t window = (uint64_t)s->rate_window * CLOCK_US_PER_SECOND;
    if (s->rate_limit == 0) {
        return NULL;
    }
    return (s->rate_kind ? rate_limit_create_bucket : rate_limit_create)((uint32_t)s->rate_limit, window,
                                                                         RATE_TABLE);
}

/* Everything but files. */
static struct http_site *make_rules(const struct pool_conf *pool)
{
    const struct http_settings *s = http_settings_of(pool);
    struct http_site *site = xcalloc(1, sizeof *site);
    char error[256] = "out of memory";
    site->conf = pool;
    site->settings = s;
    site->pages = error_pages_load(s->error_pages_dir);
    site->trusted = s->trusted_proxies ? cidr_list_parse(s->trusted_proxies, error, sizeof error) : NULL;
    site->rate = rate_of(s);
    added_fields_init(&site->added, s);
    bool bad = !site->pages || (s->trusted_proxies && !site->trusted) || (s->rate_limit && !site->rate);
    if (bad || basic_auth_create(s, &site->auth, error, sizeof error) != 0) {
        log_alert("[pool %s] %s", pool->name, error);
        site_destroy(site);
        return NULL;
    }
    return site;
}

static struct http_site *site_create(const struct pool_conf *pool, struct helper_pool *helpers)
{
    struct http_site *site = make_rules(pool);
    if (!site) {
        return NULL;
    }
    site->router = router_create(site->settings, pool->s.limit_extensions);
    site->files = static_files_create(site->settings, helpers);
    if (!site->router || !site->files) {
        log_alert("[pool %s] cannot serve %s", pool->name, site->settings->document_root);
        site_destroy(site);
        return NULL;
    }
    return site;
}

static void make_variant(const struct setting_table *table, struct variant *v, const struct http_site *host,
                         const struct http_site *own)
{
    const struct http_given *set = &own->settings->given;
    v->settings = *host->settings;
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        if (row->owner == OWNER_SITE && settings_given(row, own->settings)) {
            settings_borrow(row, &v->settings, own->settings);
        }
    }
    v->site = *host;
    v->site.conf = own->conf;
    v->site.settings = &v->settings;
    v->site.trusted = set->trusted_proxies ? own->trusted : host->trusted;
    v->site.rate = set->rate_limit ? own->rate : host->rate;
    v->site.auth = set->basic_auth ? own->auth : host->auth;
    v->site.pages = set->error_pages_dir ? own->pages : host->pages;
    added_fields_init(&v->site.added, &v->settings);
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
        int64_t workers = pool->s.max_children + (pool->s.worker_script ? pool->s.worker_num : 0);
        target->keep_alive = true; /* idle connections hold no worker of ours */
        target->ours = true;
        target->wait_us = pool_wait_us(pool);
        target->capacity = capacity ? capacity : workers * QUEUE_PER_WORKER;
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
    struct http_site *site = site_create(pool, sites->helpers);
    if (site) {
        *last = xcalloc(1, sizeof **last);
        **last = (struct host_rule){.site = site,
                                    .target = target,
                                    .guest = pool_guest(sites->process, pool),
                                    .number = ++sites->host_count};
    }
    return site;
}

/* A pool that claims paths has a site of its own, or a variant of each host's. */
static int add_routes(struct sites *sites, const struct pool_conf *pool, struct upstream_target *target)
{
    const struct http_settings *s = http_settings_of(pool);
    struct path_rule *rule = add_path_rule(
        sites,
        (struct path_rule){.names = given(s->server_name) && pool != sites->pool ? s->server_name : NULL,
                           .patterns = s->routes,
                           .target = target,
                           .guest = pool_guest(sites->process, pool)});
    if (pool == sites->pool) {
        return 0;
    }
    struct http_site *site = given(s->document_root) ? site_create(pool, sites->helpers) : make_rules(pool);
    *(given(s->document_root) ? &rule->site : &rule->own) = site;
    return site ? 0 : -1;
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
        site_destroy(rule->own);
        free(rule->variants);
        free(rule);
    }
    for (struct target *target = sites->targets, *next; target; target = next) {
        next = target->next;
        free(target->name);
        free(target);
    }
    site_destroy(sites->main);
    free(sites->tls);
    free(sites);
}

static void make_variants(struct sites *sites, const struct setting_table *table)
{
    for (struct path_rule *rule = sites->paths; rule; rule = rule->next) {
        if (!rule->own) {
            continue;
        }
        rule->variants = xcalloc(sites->host_count + 1, sizeof *rule->variants);
        make_variant(table, &rule->variants[0], sites->main, rule->own);
        for (const struct host_rule *host = sites->hosts; host; host = host->next) {
            make_variant(table, &rule->variants[host->number], host->site, rule->own);
        }
    }
}

/* -- what a handshake can know -- */

static bool asks_the_same(const struct http_settings *a, const struct http_settings *b)
{
    return a->tls_client_verify == b->tls_client_verify &&
           strcmp(a->tls_client_ca ? a->tls_client_ca : "", b->tls_client_ca ? b->tls_client_ca : "") == 0;
}

static unsigned client_rule_of(const struct sites *sites, const struct http_settings *s)
{
    unsigned rule = 0;
    if (s->tls_client_verify == 0) {
        return 0;
    }
    for (size_t i = 0; i < sites->tls_count; i++) {
        if (asks_the_same(sites->tls[i].settings, s)) {
            return sites->tls[i].client_rule;
        }
        rule = sites->tls[i].client_rule > rule ? sites->tls[i].client_rule : rule;
    }
    return rule + 1;
}

static unsigned add_tls_host(struct sites *sites, const struct http_settings *s, bool paths_only)
{
    unsigned rule = paths_only ? 0 : client_rule_of(sites, s);
    sites->tls = xrealloc(sites->tls, (sites->tls_count + 1) * sizeof *sites->tls);
    sites->tls[sites->tls_count++] = (struct tls_host){
        .names = s->server_name, .settings = s, .client_rule = rule, .paths_only = paths_only};
    return rule;
}

static void make_tls_hosts(struct sites *sites)
{
    sites->client_rule = add_tls_host(sites, sites->main->settings, false);
    for (struct host_rule *rule = sites->hosts; rule; rule = rule->next) {
        rule->client_rule = add_tls_host(sites, rule->site->settings, false);
    }
    for (const struct path_rule *rule = sites->paths; rule; rule = rule->next) {
        const struct http_site *site = rule->own ? rule->own : rule->site;
        if (site && given(site->settings->server_name)) {
            add_tls_host(sites, site->settings, true);
        }
    }
}

const struct tls_host *sites_tls(const struct sites *sites, size_t *count)
{
    *count = sites->tls_count;
    return sites->tls;
}

struct sites *sites_create(struct pool *process, const struct setting_table *table,
                           struct helper_pool *helpers)
{
    const struct pool_conf *pool = pool_conf(process);
    struct sites *sites = xcalloc(1, sizeof *sites);
    sites->pool = pool;
    sites->process = process;
    sites->helpers = helpers;
    sites->main = site_create(pool, sites->helpers);
    bool bad = !sites->main || add_upstreams(sites, sites->main) != 0;
    for (const struct pool_conf *p = http_settings_of(pool)->config->pools; !bad && p; p = p->next) {
        bad = (p == pool || addresses_are_shared(p, pool)) && add_pool(sites, p) != 0;
    }
    if (bad) {
        sites_destroy(sites);
        return NULL;
    }
    make_variants(sites, table);
    make_tls_hosts(sites);
    return sites;
}

const struct http_site *sites_main(const struct sites *sites)
{
    return sites->main;
}

/* -- choosing -- */

/* The host's number. */
static size_t choose_host(const struct sites *sites, struct str host, struct site_choice *out)
{
    size_t number = 0;
    unsigned best = host.p ? host_pattern_fit(sites->main->settings->server_name, host) : 0;
    for (const struct host_rule *rule = sites->hosts; host.p && rule; rule = rule->next) {
        unsigned fit = host_pattern_fit(rule->site->settings->server_name, host);
        if (fit > best) {
            best = fit;
            number = rule->number;
            out->site = rule->site;
            out->target = rule->target;
            out->guest = rule->guest;
            out->client_rule = rule->client_rule;
        }
    }
    return number;
}

static bool applies(const struct path_rule *rule, const struct http_site *site, struct str host,
                    struct str path)
{
    return (!rule->within || rule->within == site) &&
           (!rule->names || (host.p && host_pattern_fit(rule->names, host))) &&
           pattern_list_match(rule->patterns, path);
}

/* Patterns are held against the path that an application sees, not against what was sent: "/%68eavy" is
 * "/heavy". Every path that the router (route.c) makes something of has such a text. */
static void choose_path(const struct sites *sites, struct str host, size_t number, struct str raw,
                        struct site_choice *out)
{
    char path[PATH_TEXT_MAX + 1];
    int n = path_text(raw, path);
    for (const struct path_rule *rule = sites->paths; n > 0 && rule; rule = rule->next) {
        if (applies(rule, out->site, host, (struct str){path, (size_t)n})) {
            out->site = rule->site ? rule->site : rule->variants ? &rule->variants[number].site : out->site;
            out->target = rule->target;
            out->guest = rule->foreign ? out->guest : rule->guest;
            out->foreign = rule->foreign;
            return;
        }
    }
}

struct site_choice sites_choose(const struct sites *sites, struct str host, struct str path)
{
    struct site_choice choice = {.site = sites->main, .client_rule = sites->client_rule};
    size_t number = choose_host(sites, host, &choice);
    if (sites->paths) {
        choose_path(sites, host, number, path, &choice);
    }
    return choice;
}
