/* Settings that do not come from the file: environment variables and the command line. Supervisor's thread.
 *
 * Environment variables count only when we run as tokiophp: php-fpm knows none of them, and a drop-in must
 * not stumble over a LOG_LEVEL that is meant for somebody else. Those of pools count when there is one pool:
 * with several nobody could say which one LISTEN_ADDR means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
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

/* Sets the row in the struct `in`; false: why not is in error. */
static bool try_value(const struct setting_row *row, void *in, const char *text, char *error, size_t size)
{
    char *value = from_here(row, text);
    int result = settings_set(row, in, NULL, value, NULL, 0, error, size);

    xwipe(value);
    return result == 0;
}

/* source: "--workers" or a setting's name. */
static void set_value(struct outside *o, const struct setting_row *row, void *in, const char *source,
                      const char *text)
{
    char error[512];

    if (!try_value(row, in, text, error, sizeof error)) {
        log_error("%s = \"%s\": %s", source, text, error);
        o->failed = true;
    }
}

/* -- the environment -- */

/* Levels of syslog and of logging libraries that stand above our own. */
static const char *level_word(const char *text)
{
    static const char *const highest[] = {"critical", "crit", "fatal", "emergency", "emerg", "off"};

    for (size_t i = 0; i < sizeof highest / sizeof *highest; i++) {
        if (strcasecmp(text, highest[i]) == 0) {
            return "alert";
        }
    }
    return text;
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
    return strcmp(variable, "LOG_LEVEL") == 0 ? level_word(text) : text;
}

static void set_from_environment(struct outside *o, const struct setting_row *row, void *in,
                                 const char *variable, const char *text)
{
    char error[512];

    if (try_value(row, in, translate(row->environment, text), error, sizeof error)) {
        return;
    }
    if (row->environment_shared) {
        log_warning("environment variable %s = \"%s\" is ignored: %s", variable, text, error);
    } else {
        log_error("environment variable %s = \"%s\": %s", variable, text, error);
        o->failed = true;
    }
}

static const char *variable_of(const struct setting_row *row)
{
    const char *text = row->environment ? getenv(row->environment) : NULL;

    return text && *text ? text : NULL;
}

static int apply_environment(void *ctx, const struct setting_table *table, void *in)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        const char *text = variable_of(row);
        if (text) {
            set_from_environment(ctx, row, in, row->environment, text);
        }
    }
    return 0;
}

/* RUST_LOG=tokio_php=debug,other=info or RUST_LOG=debug: the level that is meant for the server, or STR_NONE.
 */
static struct str rust_level(const char *text)
{
    struct str rest = str_of(text), directive, level = STR_NONE;

    while (str_split(&rest, ',', &directive)) {
        struct str value = str_trim(directive), target;
        str_split(&value, '=', &target);
        if (!value.p) {
            level = level.p ? level : target;
        } else if (str_starts(target, STR("tokio"))) {
            return value;
        }
    }
    return level;
}

/* Variables without a row. */
static void take_tokio_php_variables(struct outside *o)
{
    const char *rust_log = getenv("RUST_LOG"), *ext = getenv("USE_EXT");
    struct str level = rust_log && !getenv("LOG_LEVEL") ? rust_level(rust_log) : STR_NONE;

    if (level.n > 0) {
        char *word = xstrndup(level.p, level.n);
        const struct setting_row *row = settings_find(&engine_global_table, "log_level");
        set_from_environment(o, row, &o->config->global, "RUST_LOG", word);
        free(word);
    }
    if (ext && *ext) {
        log_notice("environment variable USE_EXT has no effect: PHP fills the superglobals itself");
    }
}

static void take_environment(struct outside *o)
{
    struct config *c = o->config;
    const char *stub = getenv("USE_STUB");

    apply_environment(o, &engine_global_table, &c->global);
    take_tokio_php_variables(o);
    if (c->pool_count != 1) {
        return;
    }
    config_each_table(c->pools, apply_environment, o);
    if (stub && settings_bool(stub) == 1) {
        c->pools->s.engine = ENGINE_STUB;
    }
}

static int find_variable(void *ctx, const struct setting_table *table, void *in)
{
    (void)ctx;
    (void)in;
    for (size_t i = 0; i < table->count; i++) {
        if (variable_of(&table->rows[i]) && !table->rows[i].environment_shared) {
            return 1;
        }
    }
    return 0;
}

bool config_environment_speaks(void)
{
    return getenv("USE_STUB") || getenv("USE_EXT") || find_variable(NULL, &engine_global_table, NULL) ||
           config_each_table(NULL, find_variable, NULL);
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
        xwipe(value_text);
    }
}

static char **string_setting(const struct pool_conf *pool, const char *name)
{
    void *in;
    const struct setting_row *row = pool_setting(pool, name, &in);

    return row ? (char **)((char *)in + row->offset) : NULL;
}

static bool is_set(char *const *text)
{
    return text && *text && **text;
}

/* ACCESS_LOG=1 is tokio_php's: lines of JSON on stdout, unless somebody has said how they look. */
static void log_as_json(struct pool_conf *pool)
{
    const char *wanted = getenv("ACCESS_LOG");
    char **format = string_setting(pool, "http.access_log_format");

    if (wanted && settings_bool(wanted) == 1 && format && !is_set(format) &&
        !is_set(&pool->s.access_format)) {
        free(*format);
        *format = xstrdup("json");
    }
}

/* A certificate that came with one address is for that address: nobody who names one wants plain text there.
 */
static void give_certificate_an_address(struct pool_conf *pool)
{
    char **cert = string_setting(pool, "http.tls_cert"), **plain = string_setting(pool, "http.listen");
    char **tls = string_setting(pool, "http.tls_listen");

    if (!is_set(cert) || !is_set(plain) || is_set(tls) || strchr(*plain, ',') ||
        strncmp(*plain, "tls:", 4) == 0) {
        return;
    }
    free(*tls);
    *tls = *plain;
    *plain = NULL;
}

int config_apply_outside(struct config *config)
{
    struct outside o = {.config = config};
    bool in_file = config->pools && is_set(string_setting(config->pools, "http.tls_cert"));

    if (config->cli->serve) {
        config_make_file_less(config);
    }
    if (!config->cli->as_php_fpm) {
        take_environment(&o);
    }
    take_command_line(&o);
    o.failed |= config->cli->serve && config_check_folder(config) < 0;
    if (config->cli->finds_out) {
        config_find_out(config);
    }
    if (config->pool_count == 1 && !config->cli->as_php_fpm) {
        log_as_json(config->pools);
    }
    if (config->pool_count == 1 && !in_file) {
        give_certificate_an_address(config->pools);
    }
    return o.failed ? -1 : 0;
}
