/* The HTTP front end's table: what the engine calls to check, listen, start, drain and stop it. Supervisor's
 * thread before the fork, the engine process's main thread (control) afterwards. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/answer/body.h"
#include "http/answer/exchange.h"
#include "http/answer/spool.h"
#include "http/certificates.h"
#include "http/content/helper_pool.h"
#include "http/content/lifetime.h"
#include "http/http.h"
#include "http/inherited.h"
#include "http/net/conn.h"
#include "http/net/front.h"
#include "http/net/limits.h"
#include "http/net/listen.h"
#include "http/net/loop.h"
#include "http/net/pem.h"
#include "http/net/tls.h"
#include "http/pages/internal.h"
#include "http/proto/h1_conn.h"
#include "http/proto/h2_conn.h"
#include "http/renewal.h"
#include "http/site/addresses.h"
#include "http/site/basic_auth.h"
#include "http/site/owners.h"
#include "http/site/rules.h"
#include "http/site/sites.h"
#include "http/upstream/upstream.h"

#define DESCRIPTOR_RESERVE 128   /* for PHP, request bodies, logs */
#define RATE_TABLE         65536 /* client addresses that are remembered */

/* -- configuration -- */

static int complain(const struct pool_conf *pool, const char *text)
{
    log_alert("[pool %s] %s", pool->name, text);
    return -1;
}

static const char *live_reload_fault(const struct pool_conf *pool)
{
    const char *path = http_settings_of(pool)->live_reload;
    if (!path || !*path) {
        return NULL;
    }
    if (*path != '/' || strpbrk(path, "\"\\<>")) {
        return ": expected a path";
    }
    return pool->s.processes > 1 ? " needs pm.processes = 1: each process has begun at another time" : NULL;
}

static int http_check(const struct config *config, struct pool_conf *pool)
{
    struct http_settings *s = http_settings_of(pool);
    struct stat st;
    char error[256];
    if (certificates_make(pool) != 0 || addresses_check(config, pool) != 0 || internal_check(pool, s) != 0) {
        return -1;
    }
    for (const struct pool_conf *one = config->pools; one && !pool->next; one = one->next) {
        if (owners_check(&http_pool_table, config, one) != 0) {
            return -1;
        }
    }
    if (addresses_has_one(pool) && !s->document_root) {
        return complain(pool, "http.listen needs http.document_root");
    }
    if (s->document_root && !pool->s.chroot) {
        int bad = stat(s->document_root, &st) != 0 ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
        if (bad) {
            log_alert("[pool %s] http.document_root = %s: %s", pool->name, s->document_root, strerror(bad));
            return -1;
        }
    }
    if (s->trusted_proxies) {
        struct cidr_list *list = cidr_list_parse(s->trusted_proxies, error, sizeof error);
        if (!list) {
            log_alert("[pool %s] http.trusted_proxies: %s", pool->name, error);
            return -1;
        }
        cidr_list_free(list);
    }
    if (rules_check(s, error, sizeof error) != 0 || basic_auth_check(s, error, sizeof error) != 0 ||
        lifetimes_check(s, error, sizeof error) != 0) {
        return complain(pool, error);
    }
    const char *fault = live_reload_fault(pool);
    if (fault) {
        log_alert("[pool %s] http.live_reload%s", pool->name, fault);
        return -1;
    }
    fault = added_fields_fault(s);
    if (fault) {
        log_alert("[pool %s] http.add_header: %s", pool->name, fault);
        return -1;
    }
    return certificates_check(config, pool);
}

struct listen_list {
    const struct pool_conf *pool;
    struct listener **last;
};

static int add_listener(void *ctx, const char *text, int kind)
{
    struct listen_list *list = ctx;
    char error[256];
    struct listener *l = xcalloc(1, sizeof *l);
    l->frontend = &http_frontend;
    l->pool = list->pool;
    l->kind = kind;
    l->lasts = kind == LISTENER_INTERNAL;
    l->fd = -1;
    l->options = (struct sock_options){.backlog = -1, .owner = (uid_t)-1, .group = (gid_t)-1, .mode = 0666};
    if (sock_parse(text, &l->address, error, sizeof error) != 0) {
        log_alert("[pool %s] http.%s = %s: %s", list->pool->name,
                  kind == LISTENER_INTERNAL ? "internal_listen" : "listen", text, error);
        free(l);
        return -1;
    }
    *list->last = l;
    list->last = &l->next;
    return 0;
}

/* An address that an earlier pool has is that pool's. */
static int add_own_listener(void *ctx, const char *text, int kind)
{
    const struct listen_list *list = ctx;
    bool own = addresses_owner(http_settings_of(list->pool)->config->pools, text) == list->pool;
    return own ? add_listener(ctx, text, kind) : 0;
}

static int http_listeners(const struct pool_conf *pool, struct listener **list)
{
    while (*list) {
        list = &(*list)->next;
    }
    struct listen_list all = {pool, list};
    const struct http_settings *s = http_settings_of(pool);
    int bad = addresses_each_in(s->internal_listen, LISTENER_INTERNAL, add_listener, &all);
    return bad ? bad : addresses_each(pool, add_own_listener, &all);
}

/* -- start -- */

static int64_t connection_limit(const struct http_settings *s)
{
    struct rlimit files;
    int64_t limit = s->max_connections ? s->max_connections : INT32_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
        int64_t room = (int64_t)files.rlim_cur - DESCRIPTOR_RESERVE;
        if (room < 16) {
            room = 16;
        }
        limit = limit < room ? limit : room;
    }
    return limit;
}

static int loop_count(const struct http_settings *s)
{
    if (s->loops > 0) {
        return (int)s->loops;
    }
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 4 ? 1 : cpus > 32 ? 16 : (int)(cpus / 2);
}

/* The loops' threads have ended. */
static void front_destroy(struct http_front *front)
{
    if (front->helpers) {
        helper_pool_stop(front->helpers); /* before anything that its tasks use */
    }
    for (int i = 0; i < front->loop_count; i++) {
        if (front->loops[i]) {
            loop_destroy(front->loops[i]);
        }
    }
    free(front->loops);
    sites_destroy(front->sites);
    helper_pool_destroy(front->helpers);
    if (front->per_client) {
        conn_limit_destroy(front->per_client);
    }
    if (front->tls) {
        tls_context_destroy(front->tls);
    }
    free(front);
}

/* What answers are made from. 0 or -1 (reported). */
static int make_parts(struct http_front *front)
{
    const struct http_settings *s = front->settings;
    char error[512] = "";
    http_body_limits((uint64_t)s->body_memory, (uint64_t)s->body_files);
    spool_limit((uint64_t)s->response_files);
    front->helpers = helper_pool_create(2 * (unsigned)loop_count(s)); /* as many as CPUs */
    if (!front->helpers) {
        return complain(front->conf, "out of memory");
    }
    front->sites = sites_create(front->pool, &http_pool_table, front->helpers);
    if (!front->sites) {
        return -1;
    }
    front->main_site = sites_main(front->sites);
    if (s->connections_per_client > 0) {
        front->per_client = conn_limit_create((uint32_t)s->connections_per_client, RATE_TABLE);
    }
    size_t count;
    const struct tls_host *hosts = sites_tls(front->sites, &count);
    if (certificates_wanted(front->conf) &&
        !(front->tls = tls_context_create(hosts, count, error, sizeof error))) {
        return complain(front->conf, error);
    }
    return 0;
}

static int make_loops(struct http_front *front)
{
    int count = loop_count(front->settings);
    front->loops = xcalloc((size_t)count, sizeof *front->loops);
    front->loop_count = count;
    atomic_store(&front->loops_listening, count);
    for (int i = 0; i < count; i++) {
        front->loops[i] = loop_create(front, i);
        if (!front->loops[i]) {
            return -1;
        }
    }
    return 0;
}

static int start_loops(struct http_front *front)
{
    for (int i = 0; i < front->loop_count; i++) {
        int bad = loop_start(front->loops[i]);
        if (bad) {
            log_alert("cannot start an event loop: %s", strerror(bad));
            return -1;
        }
        front->loops_running++;
    }
    return 0;
}

static const struct loop_part *const loop_parts[] = {&listen_loop_part, &conn_loop_part, &upstream_loop_part,
                                                     &exchange_loop_part, NULL};

static int start(struct pool *pool, const struct listener *listeners)
{
    const struct pool_conf *conf = pool_conf(pool);
    const struct http_settings *s = http_settings_of(conf);
    bool site = addresses_has_one(conf);
    if (!site && (!s->internal_listen || !*s->internal_listen)) {
        return 0;
    }
    struct http_front *front = xcalloc(1, sizeof *front);
    front->frontend = &http_frontend;
    front->loop_parts = loop_parts;
    front->reply_io = &reply_io;
    front->h1 = &h1_protocol;
    front->h2 = &h2_protocol;
    front->pool = pool;
    front->conf = conf;
    front->settings = s;
    front->listeners = listeners;
    front->max_connections = connection_limit(s);
    signal(SIGPIPE, SIG_IGN);
    pool_set_queue(pool, (unsigned)s->queue_capacity, (uint64_t)s->queue_timeout * CLOCK_US_PER_SECOND);
    front->internal = internal_create(front);
    if (site && (make_parts(front) != 0 || make_loops(front) != 0)) {
        internal_stop(front->internal);
        front_destroy(front);
        return -1;
    }
    pool_set_front(pool, &http_frontend, front);
    return 0;
}

static bool http_answers_for(const struct pool_conf *owner, const struct pool_conf *site)
{
    return addresses_are_shared(site, owner);
}

static int http_start(struct pool *pool, const struct listener *listeners)
{
    int result = start(pool, listeners);
    pem_forget(NULL, NULL); /* OpenSSL has its own */
    tls_memory_settle();
    return result;
}

static struct http_front *front_of(struct pool *pool)
{
    return pool_front(pool, &http_frontend);
}

static int http_open(struct pool *pool)
{
    struct http_front *front = front_of(pool);
    return front && (internal_open(front->internal) != 0 || start_loops(front) != 0) ? -1 : 0;
}

/* -- the end -- */

static void http_refuse(struct pool *pool)
{
    struct http_front *front = front_of(pool);
    for (int i = 0; front && i < front->loop_count; i++) {
        loop_refuse(front->loops[i]);
    }
}

static void http_drain(struct pool *pool)
{
    struct http_front *front = front_of(pool);
    if (!front) {
        return;
    }
    internal_drain(front->internal);
    atomic_store(&front->drain_us, clock_coarse_us());
    atomic_store(&front->draining, true);
    for (int i = 0; i < front->loop_count; i++) {
        loop_drain(front->loops[i]);
    }
}

static bool http_drain_heard(struct pool *pool)
{
    struct http_front *front = front_of(pool);
    return !front || atomic_load(&front->loops_draining) == front->loop_count;
}

/* Not before every loop has left its listeners: one that has not heard yet may be accepting at this moment,
 * and its connection would end with the process. Connections whose worker died with their descriptor in hand
 * are nobody's any more. */
static bool http_drained(struct pool *pool)
{
    struct http_front *front = front_of(pool);
    return !front || (http_drain_heard(pool) && atomic_load(&front->loops_listening) == 0 &&
                      internal_drained(front->internal) &&
                      atomic_load(&front->connections) <= atomic_load(&front->written_off));
}

static void http_stop(struct pool *pool)
{
    struct http_front *front = front_of(pool);
    if (!front) {
        return;
    }
    internal_stop(front->internal);
    for (int i = 0; i < front->loops_running; i++) {
        loop_stop(front->loops[i]);
    }
    pool_set_front(pool, &http_frontend, NULL);
    front_destroy(front);
}

static void http_rekey(struct pool *pool, const struct pool_keys *keys)
{
    struct http_front *front = front_of(pool);
    if (front && front->tls) {
        tls_context_rekey(front->tls, keys);
    }
}

const struct frontend http_frontend = {
    .name = "http",
    .pool_table = &http_pool_table,
    .check = http_check,
    .listeners = http_listeners,
    .answers_for = http_answers_for,
    .forget = inherited_forget,
    .keeps = tls_is_begun,
    .files = inherited_files,
    .renew = renewal_look,
    .start = http_start,
    .open = http_open,
    .refuse = http_refuse,
    .drain = http_drain,
    .drain_heard = http_drain_heard,
    .drained = http_drained,
    .stop = http_stop,
    .rekey = http_rekey,
};
