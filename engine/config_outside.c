/* Settings that do not come from the file: environment variables, the command line, and what a server without
 * a file is like. Supervisor's thread.
 *
 * Environment variables count only when we run as tokiophp: php-fpm knows none of them, and a drop-in must
 * not stumble over a LOG_LEVEL that is meant for somebody else. Those of pools count when there is one pool:
 * with several nobody could say which one LISTEN_ADDR means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/config.h"

struct outside {
    struct config *config;
    bool failed;
};

/* A relative path that did not come from the file is one of the caller's directory. */
static char *from_here(const struct setting_row *row, const char *value)
{
    char here[4096];

    if (row->type != SETTING_PATH || *value == '/' || !*value || !getcwd(here, sizeof here)) {
        return xstrdup(value);
    }
    return strcmp(value, ".") == 0 ? xstrdup(here) : xasprintf("%s/%s", here, value);
}

/* source: "environment variable LOG_LEVEL", "--workers". */
static void set_value(struct outside *o, const struct setting_row *row, void *in, const char *source,
                      const char *text)
{
    char error[512];
    char *value = from_here(row, text);

    if (settings_set(row, in, NULL, value, NULL, 0, error, sizeof error) < 0) {
        log_error("%s = \"%s\": %s", source, text, error);
        o->failed = true;
    }
    free(value);
}

/* Values that users of other servers know, as our rows spell them. */
static const char *translate(const char *variable, const char *text)
{
    if (strcmp(variable, "ACCESS_LOG") == 0 && settings_bool(text) >= 0) {
        return settings_bool(text) ? "/dev/stdout" : "";
    }
    if (strcmp(variable, "EXECUTOR") == 0 && strcmp(text, "ext") == 0) {
        return "php";
    }
    return text;
}

static int apply_environment(void *ctx, const struct setting_table *table, void *in)
{
    struct outside *o = ctx;

    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        const char *text = row->environment ? getenv(row->environment) : NULL;
        char source[128];
        if (text && *text) {
            snprintf(source, sizeof source, "environment variable %s", row->environment);
            set_value(o, row, in, source, translate(row->environment, text));
        }
    }
    return 0;
}

static void take_environment(struct outside *o)
{
    struct config *c = o->config;
    const char *stub = getenv("USE_STUB");

    apply_environment(o, &engine_global_table, &c->global);
    if (c->pool_count != 1) {
        return;
    }
    config_each_table(c->pools, apply_environment, o);
    if (stub && settings_bool(stub) == 1) {
        c->pools->s.engine = ENGINE_STUB;
    }
}

/* cli->settings: rows of [global], else of the first pool. */
static void take_command_line(struct outside *o)
{
    struct str rest = str_of(o->config->cli->settings), line;

    while (str_split(&rest, '\n', &line)) {
        struct str value = line, name;
        if (line.n == 0 || !str_split(&value, '=', &name)) {
            continue;
        }
        char *name_text = xstrndup(name.p, name.n);
        char *value_text = xstrndup(value.p ? value.p : "", value.n);
        void *in = &o->config->global;
        const struct setting_row *row = settings_find(&engine_global_table, name_text);
        if (!row && o->config->pools) {
            row = pool_setting(o->config->pools, name_text, &in);
        }
        if (row) {
            set_value(o, row, in, name_text, value_text);
        } else {
            log_error("%s is not a setting of this build", name_text);
            o->failed = true;
        }
        free(name_text);
        free(value_text);
    }
}

/* What a server without a file is like: it stays in the foreground, shows what it does, and passes its
 * environment on, as containers expect. Environment and command line still win. */
static void make_file_less(struct outside *o)
{
    static const char *const settings[][2] = {
        {"pm", "static"},
        {"clear_env", "no"},
        {"catch_workers_output", "yes"},
        {"request_terminate_timeout", "2m"},
        {"http.listen", "127.0.0.1:8080"},
        {"http.document_root", "."},
    };
    struct pool_conf *pool = o->config->pools;

    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        void *in;
        const struct setting_row *row = pool_setting(pool, settings[i][0], &in);
        if (row) {
            set_value(o, row, in, settings[i][0], settings[i][1]);
        }
    }
    o->config->global.daemonize = false;
    o->config->global.daemonize_given = true;
}

int config_apply_outside(struct config *config)
{
    struct outside o = {.config = config};

    if (config->cli->serve) {
        make_file_less(&o);
    }
    if (!config->cli->as_php_fpm) {
        take_environment(&o);
    }
    take_command_line(&o);
    return o.failed ? -1 : 0;
}
