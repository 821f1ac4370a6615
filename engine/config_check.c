/* What a row cannot check by itself: one setting against another, or against the system. Order, sentences
 * and levels are php-fpm's, because people and programs look for them. Supervisor's thread. Each check
 * returns 0, or -1 after it reported; the first -1 ends the load. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/telemetry/access_format.h"

#define LOG_LIMIT_MIN       512
#define TRACE_DEPTH_DEFAULT 20

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* -- paths -- */

const char *config_prefix(const struct config *config, const struct pool_conf *pool)
{
    if (pool && pool->s.prefix) {
        return pool->s.prefix;
    }
    return config->cli->prefix ? config->cli->prefix : TOKIOPHP_PREFIX;
}

static void make_absolute(char **path, const char *directory)
{
    if (*path && **path != '/') {
        char *absolute = xasprintf("%s/%s", directory, *path);
        free(*path);
        *path = absolute;
    }
}

static int complete_paths(void *ctx, const struct setting_table *table, void *in)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->rows[i].type == SETTING_PATH) {
            make_absolute((char **)((char *)in + table->rows[i].offset), ctx);
        }
    }
    return 0;
}

static void set_default(char **text, const char *value)
{
    if (!*text || !**text) {
        free(*text);
        *text = value ? xstrdup(value) : NULL;
    }
}

/* -- [global] -- */

static int check_priority(int64_t priority)
{
    return priority == PRIORITY_UNSET || (priority >= -19 && priority <= 20) ? 0 : -1;
}

/* The words behind "alert" in level_words are other programs' names. */
static void set_log_level(struct global_settings *g, bool as_php_fpm)
{
    static const int same_as[] = {[6] = LEVEL_WARNING, [7] = LEVEL_NOTICE, [8] = LEVEL_DEBUG};

    if (g->log_level > LEVEL_ALERT) {
        g->log_level = same_as[g->log_level];
    }
    if (g->log_level == 0 && !as_php_fpm) { /* php-fpm shows what is not set as an unknown value */
        g->log_level = LEVEL_NOTICE;
    }
    if (g->log_level > 0) {
        log_set_level((enum log_level)g->log_level);
    }
}

static void complete_global_paths(struct config *c)
{
    struct global_settings *g = &c->global;
    const char *base = c->cli->prefix ? c->cli->prefix : TOKIOPHP_LOCALSTATEDIR;

    if (c->cli->pid_path) {
        free(g->pid);
        g->pid = xstrdup(c->cli->pid_path);
    }
    if (c->cli->as_php_fpm) {
        set_default(&g->error_log, "log/php-fpm.log");
        set_default(&g->syslog_ident, "php-fpm");
    } else {
        set_default(&g->error_log, g->daemonize ? "log/tokiophp.log" : "/dev/stderr");
        set_default(&g->syslog_ident, "tokiophp");
    }
    if (strcasecmp(g->error_log, "syslog") != 0) {
        make_absolute(&g->error_log, base);
    }
    make_absolute(&g->pid, base);
    make_absolute(&g->crash_dir, base);
    make_absolute(&g->control_socket, base);
}

static int check_events(const char *name)
{
    static const char *const known[] = {"epoll", "poll", "select"};

    for (size_t i = 0; name && *name && i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(name, known[i]) == 0) {
            return 0;
        }
    }
    if (!name || !*name) {
        return 0;
    }
    log_error("event mechanism '%s' is not available on this system", name);
    return -1;
}

static int check_global(struct config *c)
{
    struct global_settings *g = &c->global;

    if (c->cli->daemonize >= 0) {
        g->daemonize = c->cli->daemonize;
    } else if (!c->cli->as_php_fpm && !g->daemonize_given) {
        g->daemonize = false; /* service managers and containers want the foreground */
    }
    if (c->cli->as_php_fpm && !g->log_request_id_given) {
        g->log_request_id = false; /* who reads php-fpm's lines may count on their end */
    }
    set_log_level(g, c->cli->as_php_fpm);
    if (g->log_limit < LOG_LIMIT_MIN) {
        log_error("log_limit must be greater than %d", LOG_LIMIT_MIN);
        return -1;
    }
    log_set_limit((size_t)g->log_limit);
    log_set_buffering(g->log_buffering);
    log_set_format((enum log_format)g->log_format, g->service_name);
    log_set_record_ids(g->log_request_id);
    if (g->process_max < 0) {
        log_error("process_max can't be negative");
        return -1;
    }
    if (check_priority(g->process_priority) < 0) {
        log_error("process.priority must be included into [-19,20]");
        return -1;
    }
    complete_global_paths(c);
    return check_events(g->events_mechanism);
}

/* -- a pool: who and where -- */

/* "" is how a file says "not set" for these. */
static void forget_empty(struct pool_settings *s)
{
    char **texts[] = {&s->user,        &s->group,         &s->chroot,    &s->chdir,
                      &s->status_path, &s->status_listen, &s->ping_path, &s->ping_response};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        set_default(texts[i], NULL);
    }
    set_default(&s->access_format, s->access_log ? "%R - %u %t \"%m %r\" %s" : NULL);
}

static int check_prefix(struct config *c, struct pool_conf *pool)
{
    if (!pool->s.prefix) {
        return 0;
    }
    make_absolute(&pool->s.prefix, c->cli->prefix ? c->cli->prefix : TOKIOPHP_PREFIX);
    if (!is_directory(pool->s.prefix)) {
        log_error("[pool %s] the prefix '%s' does not exist or is not a directory", pool->name,
                  pool->s.prefix);
        return -1;
    }
    return 0;
}

static int find_reachable(void *ctx, const struct setting_table *table, void *in)
{
    bool *has_rows = ctx;

    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        if (row->reachable) {
            const char *text = *(char *const *)((char *)in + row->offset);
            *has_rows = true;
            if (text && *text) {
                return 1;
            }
        }
    }
    return 0;
}

static int check_reachable(const struct pool_conf *pool)
{
    bool has_rows = false;

    if (!config_each_table(pool, find_reachable, &has_rows) && has_rows) {
        log_alert("[pool %s] no listen address have been defined!", pool->name);
        return -1;
    }
    return 0;
}

static int check_identity(struct config *c, struct pool_conf *pool)
{
    if (!pool->s.user && geteuid() == 0 && !c->cli->allow_root) {
        log_alert("[pool %s] user has not been defined", pool->name);
        return -1;
    }
    if (check_reachable(pool) < 0) {
        return -1;
    }
    if (check_priority(pool->s.process_priority) < 0) {
        log_error("[pool %s] process.priority must be included into [-19,20]", pool->name);
        return -1;
    }
    return 0;
}

/* -- a pool: pages, logs, directories -- */

/* what: "status" or "ping". */
static int check_page(const struct pool_conf *pool, const char *what, const char *path)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.~";

    if (!path) {
        return 0;
    }
    if (*path != '/') {
        log_error("[pool %s] the %s path '%s' must start with a '/'", pool->name, what, path);
    } else if (!path[1]) {
        log_error("[pool %s] the %s path '%s' is not long enough", pool->name, what, path);
    } else if (path[strspn(path, allowed)]) {
        log_error("[pool %s] the %s path '%s' must contain only the following characters '[alphanum]/_-.~'",
                  pool->name, what, path);
    } else {
        return 0;
    }
    return -1;
}

static int check_pages(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    if (check_page(pool, "status", s->status_path) < 0 || check_page(pool, "ping", s->ping_path) < 0) {
        return -1;
    }
    if (s->ping_path) {
        set_default(&s->ping_response, "pong");
    }
    return 0;
}

static int check_slowlog(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    if (s->request_slowlog_timeout > 0 && !s->slowlog) {
        log_error("[pool %s] 'slowlog' must be specified for use with 'request_slowlog_timeout'", pool->name);
        return -1;
    }
    if (s->request_slowlog_timeout > 0 && s->request_terminate_timeout > 0 &&
        s->request_slowlog_timeout > s->request_terminate_timeout) {
        log_error("[pool %s] 'request_slowlog_timeout' (%" PRId64
                  ") can't be greater than 'request_terminate_timeout' (%" PRId64 ")",
                  pool->name, s->request_slowlog_timeout, s->request_terminate_timeout);
        return -1;
    }
    if (s->request_slowlog_trace_depth < 0) {
        log_error("[pool %s] 'request_slowlog_trace_depth' (%" PRId64 ") must be a positive value",
                  pool->name, s->request_slowlog_trace_depth);
        return -1;
    }
    if (s->request_slowlog_trace_depth == 0) { /* php-fpm's "not set" */
        s->request_slowlog_trace_depth = TRACE_DEPTH_DEFAULT;
    }
    return 0;
}

/* $prefix at the beginning of chroot. */
static int expand_chroot(struct config *c, struct pool_conf *pool)
{
    static const char word[] = "$prefix";
    char **path = &pool->s.chroot;
    const char *found = *path ? strstr(*path, word) : NULL;

    if (!found) {
        return 0;
    }
    if (found != *path) {
        log_error("[pool %s] '$prefix' may stand only at the beginning of chroot", pool->name);
        return -1;
    }
    char *expanded = xasprintf("%s%s", config_prefix(c, pool), *path + strlen(word));
    free(*path);
    *path = expanded;
    return 0;
}

static int check_directory(const struct pool_conf *pool, const char *what, const char *path, const char *root)
{
    if (!path) {
        return 0;
    }
    if (*path != '/') {
        log_error("[pool %s] the %s path '%s' must start with a '/'", pool->name, what, path);
        return -1;
    }
    char *full = xasprintf("%s%s", root ? root : "", path);
    bool exists = is_directory(full);
    if (!exists && root) {
        log_error("[pool %s] the %s path '%s' within the chroot path '%s' ('%s') does not exist or is not a "
                  "directory",
                  pool->name, what, path, root, full);
    } else if (!exists) {
        log_error("[pool %s] the %s path '%s' does not exist or is not a directory", pool->name, what, path);
    }
    free(full);
    return exists ? 0 : -1;
}

static int check_directories(struct config *c, struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    if (expand_chroot(c, pool) < 0 || check_directory(pool, "chroot", s->chroot, NULL) < 0) {
        return -1;
    }
    return check_directory(pool, "chdir", s->chdir, s->chroot);
}

static int check_one_format(const struct pool_conf *pool, const char *name, const char *format)
{
    char error[256];

    if (!format || strcmp(format, "json") == 0 || strcmp(format, "combined") == 0) {
        return 0;
    }
    if (access_format_check(format, error, sizeof error) < 0) {
        log_warning("%s", error);
        log_error("[pool %s] wrong format for %s '%s'", pool->name, name, format);
        return -1;
    }
    return 0;
}

/* As php-fpm: a format without a log is nobody's. */
static int check_access_format(const struct pool_conf *pool)
{
    static const char http_row[] = "http.access_log_format";
    void *in;
    const struct setting_row *row = pool_setting(pool, http_row, &in);
    const char *http = row ? *(char *const *)((const char *)in + row->offset) : NULL;

    if (pool->s.access_log && check_one_format(pool, "access.format", pool->s.access_format) < 0) {
        return -1;
    }
    return http && *http ? check_one_format(pool, http_row, http) : 0;
}

/* -- all -- */

static int check_pool(struct config *c, struct pool_conf *pool)
{
    forget_empty(&pool->s);
    if (check_prefix(c, pool) < 0 || check_identity(c, pool) < 0 || config_check_workers(c, pool) < 0) {
        return -1;
    }
    config_each_table(pool, complete_paths, (void *)(uintptr_t)config_prefix(c, pool));
    if (check_pages(pool) < 0 || check_slowlog(pool) < 0) {
        return -1;
    }
    return check_directories(c, pool) < 0 || config_check_tasks(pool) < 0 ? -1 : config_check_script(pool);
}

static bool prefix_exists(const struct config *c)
{
    if (!c->cli->prefix || is_directory(c->cli->prefix)) {
        return true;
    }
    log_error("the global prefix '%s' does not exist or is not a directory", c->cli->prefix);
    return false;
}

int config_check(struct config *c)
{
    if (!prefix_exists(c) || check_global(c) < 0) {
        return -1;
    }
    if (!c->pools) {
        log_error("No pool defined. at least one pool section must be specified in config file");
        return -1;
    }
    for (struct pool_conf *pool = c->pools; pool; pool = pool->next) {
        if (check_pool(c, pool) < 0) {
            return -1;
        }
    }
    for (const struct pool_conf *pool = c->pools; pool; pool = pool->next) {
        if (check_access_format(pool) < 0) {
            return -1;
        }
    }
    return 0;
}
