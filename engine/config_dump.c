/* Settings as text: the dump of a configuration (-tt) and the reference of all rows (--print-settings).
 * Supervisor's thread. The dump's order, names and forms are php-fpm's, since scripts compare them; settings
 * that php-fpm does not have follow, where they differ from their default. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/config.h"
#include "engine/engine.h"

enum dump_form {
    DUMP_PLAIN,    /* as settings_text() has it */
    DUMP_NUMBER,   /* a bare number, whatever the row's type or words are */
    DUMP_FACILITY, /* the number of syslog.h */
    DUMP_LEVEL,    /* in capitals */
    DUMP_EVENTS,   /* what is used, not what is written */
    DUMP_PAIRS,    /* a line each, the last one first */
};

struct dump_line {
    const char *name;
    enum dump_form form;
};

static const struct dump_line global_lines[] = {
    {"pid", DUMP_PLAIN},
    {"error_log", DUMP_PLAIN},
    {"syslog.ident", DUMP_PLAIN},
    {"syslog.facility", DUMP_FACILITY},
    {"log_buffering", DUMP_PLAIN},
    {"log_level", DUMP_LEVEL},
    {"log_limit", DUMP_PLAIN},
    {"emergency_restart_interval", DUMP_PLAIN},
    {"emergency_restart_threshold", DUMP_PLAIN},
    {"process_control_timeout", DUMP_PLAIN},
    {"process.max", DUMP_PLAIN},
    {"process.priority", DUMP_PLAIN},
    {"daemonize", DUMP_PLAIN},
    {"rlimit_files", DUMP_PLAIN},
    {"rlimit_core", DUMP_NUMBER},
    {"events.mechanism", DUMP_EVENTS},
    {"systemd_interval", DUMP_PLAIN},
};

/* The listen.* rows are a front end's: a line whose row no front end has is left out. */
static const struct dump_line pool_lines[] = {
    {"prefix", DUMP_PLAIN},
    {"user", DUMP_PLAIN},
    {"group", DUMP_PLAIN},
    {"listen", DUMP_PLAIN},
    {"listen.backlog", DUMP_PLAIN},
    {"listen.acl_users", DUMP_PLAIN},
    {"listen.acl_groups", DUMP_PLAIN},
    {"listen.owner", DUMP_PLAIN},
    {"listen.group", DUMP_PLAIN},
    {"listen.mode", DUMP_PLAIN},
    {"listen.allowed_clients", DUMP_PLAIN},
    {"process.priority", DUMP_PLAIN},
    {"process.dumpable", DUMP_PLAIN},
    {"pm", DUMP_PLAIN},
    {"pm.max_children", DUMP_PLAIN},
    {"pm.start_servers", DUMP_PLAIN},
    {"pm.min_spare_servers", DUMP_PLAIN},
    {"pm.max_spare_servers", DUMP_PLAIN},
    {"pm.max_spawn_rate", DUMP_PLAIN},
    {"pm.process_idle_timeout", DUMP_NUMBER},
    {"pm.max_requests", DUMP_PLAIN},
    {"pm.status_path", DUMP_PLAIN},
    {"pm.status_listen", DUMP_PLAIN},
    {"ping.path", DUMP_PLAIN},
    {"ping.response", DUMP_PLAIN},
    {"access.log", DUMP_PLAIN},
    {"access.format", DUMP_PLAIN},
    {"access.suppress_path", DUMP_PAIRS},
    {"slowlog", DUMP_PLAIN},
    {"request_slowlog_timeout", DUMP_PLAIN},
    {"request_slowlog_trace_depth", DUMP_PLAIN},
    {"request_terminate_timeout", DUMP_PLAIN},
    {"request_terminate_timeout_track_finished", DUMP_PLAIN},
    {"rlimit_files", DUMP_PLAIN},
    {"rlimit_core", DUMP_NUMBER},
    {"chroot", DUMP_PLAIN},
    {"chdir", DUMP_PLAIN},
    {"catch_workers_output", DUMP_PLAIN},
    {"decorate_workers_output", DUMP_PLAIN},
    {"clear_env", DUMP_PLAIN},
    {"security.limit_extensions", DUMP_PLAIN},
    {"env", DUMP_PAIRS},
    {"php_value", DUMP_PAIRS},
    {"php_admin_value", DUMP_PAIRS},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void dump_pairs(const char *name, const struct setting_pair *pair)
{
    if (pair) {
        dump_pairs(name, pair->next);
        log_notice("\t%s[%s] = %s", name, pair->key ? pair->key : "", pair->value);
    }
}

static void dump_row(const struct setting_row *row, const void *in, enum dump_form form)
{
    const void *field = (const char *)in + row->offset;
    char text[4096];

    switch (form) {
    case DUMP_PAIRS: dump_pairs(row->name, *(struct setting_pair *const *)field); break;
    case DUMP_NUMBER: log_notice("\t%s = %" PRId64, row->name, *(const int64_t *)field); break;
    case DUMP_FACILITY: log_notice("\t%s = %d", row->name, syslog_facility(*(char *const *)field)); break;
    case DUMP_LEVEL:
        log_notice("\t%s = %s", row->name, log_level_name((enum log_level) * (const int *)field));
        break;
    case DUMP_EVENTS: log_notice("\t%s = epoll", row->name); break;
    case DUMP_PLAIN: log_notice("\t%s = %s", row->name, settings_text(row, in, text, sizeof text)); break;
    }
}

static bool is_listed(const struct dump_line *lines, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(lines[i].name, name) == 0) {
            return true;
        }
    }
    return strcmp(name, "php_flag") == 0 ||
           strcmp(name, "php_admin_flag") == 0; /* see unflag() in config.c */
}

/* The rows that are not php-fpm's, where somebody set them. */
static void dump_rest(const struct setting_table *table, const void *in, const struct dump_line *lines,
                      size_t count)
{
    void *defaults = xcalloc(1, table->struct_size);
    char text[4096], initial[4096];

    settings_apply_defaults(table, defaults);
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        settings_text(row, in, text, sizeof text);
        settings_text(row, defaults, initial, sizeof initial);
        if (!is_listed(lines, count, row->name) && strcmp(text, initial) != 0) {
            log_notice("\t%s = %s", row->name, text);
        }
    }
    settings_free(table, defaults);
    free(defaults);
}

static int dump_pool_rest(void *ctx, const struct setting_table *table, void *in)
{
    (void)ctx;
    dump_rest(table, in, pool_lines, COUNT(pool_lines));
    return 0;
}

static void dump_pool(const struct pool_conf *pool)
{
    log_notice("[%s]", pool->name);
    for (size_t i = 0; i < COUNT(pool_lines); i++) {
        void *in;
        const struct setting_row *row = pool_setting(pool, pool_lines[i].name, &in);
        if (row) {
            dump_row(row, in, pool_lines[i].form);
        }
    }
    config_each_table(pool, dump_pool_rest, NULL);
    log_notice(" ");
}

void config_dump(const struct config *config)
{
    log_notice("[global]");
    for (size_t i = 0; i < COUNT(global_lines); i++) {
        dump_row(settings_find(&engine_global_table, global_lines[i].name), &config->global,
                 global_lines[i].form);
    }
    dump_rest(&engine_global_table, &config->global, global_lines, COUNT(global_lines));
    log_notice(" ");
    for (const struct pool_conf *pool = config->pools; pool && !pool->tasks_of; pool = pool->next) {
        dump_pool(pool);
    }
}

/* -- the reference -- */

static const char *shown_name(const struct setting_row *row, char *out, size_t size)
{
    const char *suffix = row->type == SETTING_LIST ? "[]" : row->type == SETTING_MAP ? "[NAME]" : "";

    snprintf(out, size, "%s%s", row->name, suffix);
    return out;
}

static void print_text(const struct setting_row *row)
{
    char name[128], expected[256];

    printf("%-42s %s\n", shown_name(row, name, sizeof name), row->help);
    printf("%-42s   %s", "", settings_expected(row, expected, sizeof expected));
    if (row->initial) {
        printf("; default %s", *row->initial ? row->initial : "\"\"");
    }
    if (row->environment) {
        printf("; environment %s", row->environment);
    }
    if (row->owner != OWNER_POOL) {
        printf("; of the %s", settings_owner_name(row->owner));
    }
    putchar('\n');
}

/* A '|' would end the column. */
static void print_cell(const char *text)
{
    for (; *text; text++) {
        if (*text == '|') {
            putchar('\\');
        }
        putchar(*text);
    }
}

static void print_markdown(const struct setting_row *row)
{
    char name[128], expected[256];

    printf("| `%s` | ", shown_name(row, name, sizeof name));
    print_cell(settings_expected(row, expected, sizeof expected));
    printf(" | ");
    if (row->initial) {
        printf("`");
        print_cell(*row->initial ? row->initial : "\"\"");
        printf("`");
    }
    printf(" | ");
    if (row->environment) {
        printf("`%s`", row->environment);
    }
    printf(" | %s | ", row->owner == OWNER_POOL ? "" : settings_owner_name(row->owner));
    print_cell(row->help);
    if (row->ignored_because) {
        printf(" (no effect: %s)", row->ignored_because);
    }
    printf(" |\n");
}

static void print_ini(const struct setting_row *row)
{
    char name[128];
    bool plain = !row->initial || strcspn(row->initial, "\"%;!()&|^~{} ") == strlen(row->initial);
    bool escaped = row->initial && strchr(row->initial, '"');

    printf("; %s\n;%s = ", row->help, shown_name(row, name, sizeof name));
    printf(plain ? "%s\n\n" : escaped ? "'%s'\n\n" : "\"%s\"\n\n", row->initial ? row->initial : "");
}

/* Text in a page of man(7): a backslash, and a dot or a quote where a line begins, would be its language. */
static void print_roff(const char *text)
{
    for (; *text; text++) {
        if (*text == '\\') {
            fputs("\\e", stdout);
        } else if (*text == '-') {
            fputs("\\-", stdout);
        } else {
            putchar(*text);
        }
    }
}

static void print_man(const struct setting_row *row)
{
    char name[128], expected[256];

    printf(".TP\n\\fB");
    print_roff(shown_name(row, name, sizeof name));
    printf("\\fR = ");
    print_roff(settings_expected(row, expected, sizeof expected));
    printf("\n\\&");
    print_roff(row->help);
    printf(".\n");
    if (row->ignored_because) {
        printf("No effect: ");
        print_roff(row->ignored_because);
        printf(".\n");
    }
    if (row->initial) {
        printf("Default:\n\\&\\fB");
        print_roff(*row->initial ? row->initial : "\"\"");
        printf("\\fR.\n");
    }
    if (row->environment) {
        printf("Environment:\n\\fB%s\\fR.\n", row->environment);
    }
    if (row->owner != OWNER_POOL) {
        printf("Whose: that of the %s.\n", settings_owner_name(row->owner));
    }
}

struct printer {
    const char *format;
    void (*row)(const struct setting_row *row);
    const char *title;
    const char *global, *pool; /* headings */
    const char *head;          /* below each */
};

static const struct printer printers[] = {
    {"text", print_text, "", "[global]\n", "\n[POOL]\n", ""},
    {"markdown", print_markdown,
     "# Settings\n\n"
     "This is what `tokiophp --print-settings=markdown` prints. Names and meanings are php-fpm's where "
     "php-fpm has "
     "the\nsetting. Sources, the strongest first: command line, environment, configuration file, default. "
     "Environment variables\nof pools count when there is one pool, and none counts when the program runs as "
     "php-fpm.\n\nWhose value counts where pools share an HTTP listener (pools.md): the listener's, which is "
     "the "
     "pool's that has\nthe address; the host's that is asked; the site's, whose host or path is asked; the "
     "files', "
     "which is the site's\nand goes with its http.document_root. All others are each pool's own. A setting "
     "that has "
     "no effect where it is\ngiven stops the start.\n\n",
     "## [global]\n\n", "\n## Pools\n\n",
     "| setting | value | default | environment | whose | what it does |\n|---|---|---|---|---|---|\n"},
    {"ini", print_ini, "", "[global]\n\n", "[www]\n\n", ""},
    {"man", print_man,
     ".TH TOKIOPHP.INI 5 \"\" \"tokiophp\" \"File formats\"\n"
     ".SH NAME\ntokiophp.ini \\- configuration of the PHP application server tokiophp\n"
     ".SH DESCRIPTION\nThe file is in php\\-fpm's dialect: a php\\-fpm.conf and its pool.d are valid as they "
     "are. "
     "\\fB[global]\\fR is the server, every\nother section is a pool.\n"
     "Sources, the strongest first: command line, environment, configuration file, default. Environment\n"
     "variables of pools count when there is one pool, and none counts when the program runs as php\\-fpm.\n"
     "Where pools share an HTTP listener, a setting may be the listener's, the host's, the site's or the "
     "files';\nall others are each pool's own. A setting that has no effect where it is given stops the "
     "start.\n.PP\n"
     "\\fBtokiophp \\-t\\fR tests the file, \\fBtokiophp \\-tt\\fR shows what comes out of it.\n",
     ".SH \"[global]\"\n", ".SH POOLS\n", ""},
};

static int print_table(void *ctx, const struct setting_table *table, void *in)
{
    const struct printer *printer = ctx;

    (void)in;
    for (size_t i = 0; i < table->count; i++) {
        printer->row(&table->rows[i]);
    }
    return 0;
}

static void print_all(const struct printer *printer)
{
    printf("%s%s%s", printer->title, printer->global, printer->head);
    print_table((void *)(uintptr_t)printer, &engine_global_table, NULL);
    printf("%s%s", printer->pool, printer->head);
    config_each_table(NULL, print_table, (void *)(uintptr_t)printer);
}

int config_print_settings(const char *format)
{
    for (size_t i = 0; i < COUNT(printers); i++) {
        if (strcmp(printers[i].format, format) == 0) {
            print_all(&printers[i]);
            return 0;
        }
    }
    return -1;
}
