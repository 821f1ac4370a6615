/* Loading a configuration: rows of the engine and of the front ends are filled from the file, then from the
 * environment and the command line (config_outside.c); config_check() does the rest. Supervisor's thread.
 * Everything belongs to the struct config that comes out, and lives as long as the process (a reload is a
 * re-execution).
 */
#include "engine/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/base/ini_reader.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/base/str.h"
#include "engine/engine.h"

struct loading {
    struct config *config;
    struct pool_conf *pool; /* of the section; NULL = [global] */
    struct pool_conf **end; /* where the next pool goes */
    bool failed;
};

/* -- reporting -- */

static bool as_php_fpm(const struct loading *l)
{
    return l->config->cli->as_php_fpm;
}

__attribute__((format(printf, 3, 4))) static void report(struct loading *l, const struct ini_entry *e,
                                                         const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_error(as_php_fpm(l) ? "[%s:%d] %s" : "%s:%d: %s", e->file, e->line, text);
    l->failed = true;
}

static void report_value(struct loading *l, const struct ini_entry *e, const char *reason)
{
    if (as_php_fpm(l) && e->key) {
        report(l, e, "error while parsing '%s[%s]' : %s", e->name, e->key, reason);
    } else if (as_php_fpm(l)) {
        report(l, e, "unable to parse value for entry '%s': %s", e->name, reason);
    } else if (e->key) {
        report(l, e, "%s[%s] = \"%s\": %s", e->name, e->key, e->raw, reason);
    } else {
        report(l, e, "%s = \"%s\": %s", e->name, e->raw, reason);
    }
}

static void report_unknown(struct loading *l, const struct ini_entry *e)
{
    const struct setting_table *tables[CONFIG_MAX_FRONTENDS + 2] = {&engine_pool_table};
    size_t count = 1;

    if (as_php_fpm(l)) {
        report(l, e, e->key ? "unknown directive '%s'" : "unknown entry '%s'", e->name);
        return;
    }
    for (int i = 0; frontends[i]; i++) {
        tables[count++] = frontends[i]->pool_table;
    }
    if (!l->pool) {
        tables[0] = &engine_global_table;
        count = 1;
    }
    const char *nearest = settings_nearest(tables, count, e->name);
    if (nearest) {
        report(l, e, "%s is not a setting; is %s meant?", e->name, nearest);
    } else if (!l->pool && pool_setting(NULL, e->name, NULL)) {
        report(l, e, "%s belongs into a pool's section, not into [global]", e->name);
    } else if (l->pool && settings_find(&engine_global_table, e->name)) {
        report(l, e, "%s belongs into [global], not into a pool's section", e->name);
    } else {
        report(l, e, "%s is not a setting (tokiophp --print-settings lists all)", e->name);
    }
}

static void on_problem(void *ctx, int warning, const char *file, int line, const char *text)
{
    struct loading *l = ctx;

    if (file) {
        log_error(as_php_fpm(l) ? "[%s:%d] %s" : "%s:%d: %s", file, line, text);
    } else if (warning) {
        log_warning("%s", text);
    } else {
        log_error("%s", text);
    }
}

/* -- sections -- */

static int add_defaults(void *ctx, const struct setting_table *table, void *in)
{
    (void)ctx;
    settings_apply_defaults(table, in);
    return 0;
}

static struct pool_conf *add_pool(struct loading *l, const char *name, const char *file, int line)
{
    struct pool_conf *pool = xcalloc(1, sizeof *pool);

    pool->name = xstrdup(name);
    pool->file = file;
    pool->line = line;
    for (int i = 0; frontends[i]; i++) {
        MUST(i < CONFIG_MAX_FRONTENDS);
        pool->frontend_settings[i] = xcalloc(1, frontends[i]->pool_table->struct_size);
    }
    config_each_table(pool, add_defaults, NULL);
    *l->end = pool;
    l->end = &pool->next;
    l->config->pool_count++;
    return pool;
}

static void begin_section(struct loading *l, const struct ini_entry *e)
{
    l->pool = NULL;
    if (strcasecmp(e->section, "global") == 0) {
        return;
    }
    for (struct pool_conf *p = l->config->pools; p; p = p->next) {
        if (strcmp(p->name, e->section) == 0) {
            l->pool = p;
            return;
        }
    }
    l->pool = add_pool(l, e->section, e->file, e->line);
}

/* -- entries -- */

static bool is_number(const struct setting_row *row)
{
    return row->type == SETTING_INT || row->type == SETTING_TIME || row->type == SETTING_SIZE ||
           row->type == SETTING_OCTAL;
}

/* The reader has turned off, no and none into "" and on into "1", as PHP's does. For words and numbers ("off"
 * may be a time or a word) of ours that went too far. */
static const char *value_for(const struct setting_row *row, const struct ini_entry *e)
{
    bool was_word = settings_bool(e->raw) >= 0;

    if (row->as_php_fpm) {
        return e->value;
    }
    return was_word && (is_number(row) || row->type == SETTING_WORD) ? e->raw : e->value;
}

/* $pool in a value is the pool's name. All of it in one piece of memory, which its owner wipes. */
static char *expand_pool(const struct pool_conf *pool, const char *value)
{
    static const char variable[] = "$pool";
    const char *name = pool ? pool->name : variable, *found = value;
    size_t count = 0;

    for (; (found = strstr(found, variable)); found += strlen(variable)) {
        count++;
    }
    char *text = xmalloc(strlen(value) + count * strlen(name) + 1), *at = text;
    while ((found = strstr(value, variable))) {
        at = mempcpy(at, value, (size_t)(found - value));
        at = mempcpy(at, name, strlen(name));
        value = found + strlen(variable);
    }
    memcpy(at, value, strlen(value) + 1);
    return text;
}

static bool is_array(const struct setting_row *row)
{
    return row->type == SETTING_LIST || row->type == SETTING_MAP;
}

/* php-fpm's rules for name[key] and name[]. */
static int check_array(struct loading *l, const struct ini_entry *e)
{
    bool is_list = strcmp(e->name, "access.suppress_path") == 0;

    if (is_list && *e->key) {
        report(l, e, "Keys provided to field '%s' are ignored", e->name);
    } else if (is_list && e->value[0] != '/') {
        report(l, e, "Values provided to field '%s' must begin with '/'", e->name);
    } else if (!is_list && !*e->key) {
        report(l, e, "You must provide a key for field '%s'", e->name);
    } else if (!l->pool) {
        report(l, e, "Array are not allowed in the global section");
    } else if (strcmp(e->name, "env") == 0 && !*e->value) {
        report(l, e, "empty value");
    } else {
        return 0;
    }
    return -1;
}

/* php_flag and php_admin_flag end up in the lists of php_value and php_admin_value, as 1 and 0. */
static const struct setting_row *unflag(const struct setting_row *row, char **value)
{
    bool admin = strcmp(row->name, "php_admin_flag") == 0;

    if (!admin && strcmp(row->name, "php_flag") != 0) {
        return row;
    }
    int on = settings_bool(*value);
    if (on < 0) {
        return NULL;
    }
    xwipe(*value);
    *value = xstrdup(on ? "1" : "0");
    return settings_find(&engine_pool_table, admin ? "php_admin_value" : "php_value");
}

static void warn_ignored(const struct setting_row *row, const struct ini_entry *e)
{
    if (row->ignored_because) {
        log_warning("[%s:%d] '%s' has no effect: %s", e->file, e->line, row->name, row->ignored_because);
    }
}

static void set_entry(struct loading *l, const struct ini_entry *e, const struct setting_row *row, void *in)
{
    char error[512];
    char *value = expand_pool(l->pool, value_for(row, e));
    const struct setting_row *target = unflag(row, &value);

    if (!target) {
        report_value(l, e, as_php_fpm(l) ? "invalid boolean value" : "expected yes or no");
    } else if (settings_set(target, in, e->key, value, e->file, e->line, error, sizeof error) < 0) {
        const char *refusal = as_php_fpm(l) ? settings_refusal(target, value) : NULL;
        report_value(l, e, refusal ? refusal : error);
    } else {
        warn_ignored(row, e);
    }
    xwipe(value);
}

static int on_entry(void *ctx, const struct ini_entry *e)
{
    struct loading *l = ctx;

    if (!e->name) {
        begin_section(l, e);
        return 0;
    }
    void *in = &l->config->global;
    const struct setting_row *row =
        l->pool ? pool_setting(l->pool, e->name, &in) : settings_find(&engine_global_table, e->name);
    bool array_fits = !row || is_array(row) == (e->key != NULL);
    if (e->key && check_array(l, e) < 0) {
        return as_php_fpm(l) ? -1 : 0;
    }
    if (!row || !array_fits) {
        report_unknown(l, e);
    } else {
        set_entry(l, e, row, in);
    }
    return l->failed && as_php_fpm(l) ? -1 : 0; /* tokiophp reports all mistakes of a file at once */
}

/* -- the whole -- */

char *config_default_path(const struct cli_options *cli)
{
    if (cli->config_path) {
        return xstrdup(cli->config_path);
    }
    if (cli->prefix) {
        return xasprintf("%s/etc/%s", cli->prefix, cli->as_php_fpm ? "php-fpm.conf" : "tokiophp.ini");
    }
    return xstrdup(cli->as_php_fpm ? TOKIOPHP_SYSCONFDIR "/php-fpm.conf" : TOKIOPHP_CONFIG_FILE);
}

static int read_file(struct loading *l, const char *path)
{
    const struct cli_options *cli = l->config->cli;

    if (!cli->as_php_fpm && !cli->config_path && access(path, F_OK) < 0 && errno == ENOENT) {
        log_error(
            "there is no configuration file %s; name one with --config FILE, or serve a directory without "
            "any: tokiophp serve DIR",
            path);
        return -1;
    }
    int result = ini_read(path, cli->prefix ? cli->prefix : TOKIOPHP_PREFIX, on_entry, on_problem, l);
    if (result < 0 || l->failed) {
        log_error("failed to load configuration file '%s'", path);
        return -1;
    }
    return 0;
}

static int fill(struct loading *l)
{
    struct config *c = l->config;

    if (c->cli->serve) {
        add_pool(l, "www", NULL, 0);
    } else {
        c->path = config_default_path(c->cli);
        if (read_file(l, c->path) < 0) {
            return -1;
        }
    }
    return config_apply_outside(c);
}

static int check_frontends(struct config *c)
{
    for (struct pool_conf *pool = c->pools; pool; pool = pool->next) {
        for (int i = 0; frontends[i]; i++) {
            if (frontends[i]->check && frontends[i]->check(c, pool) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

struct config *config_load(const struct cli_options *cli)
{
    struct config *config = xcalloc(1, sizeof *config);
    struct loading l = {.config = config, .end = &config->pools};

    config->cli = cli;
    settings_apply_defaults(&engine_global_table, &config->global);
    if (fill(&l) < 0) {
        config_free(config);
        return NULL;
    }
    if (config_check(config) < 0) {
        log_error("failed to post process the configuration");
        config_free(config);
        return NULL;
    }
    if (check_frontends(config) < 0) { /* php-fpm finds these when it opens sockets: no line of its own */
        config_free(config);
        return NULL;
    }
    config_add_tasks(config);
    return config;
}

static int free_table(void *ctx, const struct setting_table *table, void *in)
{
    (void)ctx;
    settings_free(table, in);
    return 0;
}

void config_free(struct config *config)
{
    struct pool_conf *pool = config->pools;

    while (pool) {
        struct pool_conf *next = pool->next;
        if (pool->tasks_of) {
            memset(&pool->s, 0, sizeof pool->s); /* that one's */
        }
        config_each_table(pool, free_table, NULL);
        for (int i = 0; frontends[i]; i++) {
            free(pool->frontend_settings[i]);
        }
        free(pool->s.worker_watch_from);
        free(pool->internal_listen);
        free(pool->internal_users);
        free(pool->name);
        free(pool);
        pool = next;
    }
    settings_free(&engine_global_table, &config->global);
    free(config->path);
    free(config);
}
