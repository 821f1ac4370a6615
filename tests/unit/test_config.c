/* Configurations as a whole: good and bad files, what they become and what is said about them; the
 * environment and the command line; a configuration cut and changed at every place. The FastCGI settings are
 * the front end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/ini_value.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "fcgi/fcgi_settings.h"
#include "tests/support/log_pipe.h"

static const struct frontend settings_only = {
    .name = "fcgi", .pool_table = &fcgi_pool_table, .check = fcgi_settings_check};
const struct frontend *const frontends[] = {&settings_only, NULL};

static char directory[] = "/tmp/conf-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(directory) || log_pipe_open() < 0) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/x.ini", directory);
    log_set_timestamps(false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_pipe_close();
    unlink(path);
    return rmdir(directory);
}

static struct cli_options options(bool as_php_fpm)
{
    return (struct cli_options){
        .config_path = path, .daemonize = -1, .allow_root = true, .as_php_fpm = as_php_fpm};
}

static struct config *load(const char *text, const struct cli_options *cli)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    log_set_level(LEVEL_NOTICE);
    struct config *config = config_load(cli);
    log_pipe_read();
    return config;
}

#define POOL "[www]\nlisten = 127.0.0.1:9000\npm = static\npm.max_children = 5\n"

/* -- good ones -- */

static void loads_a_pool(void **state)
{
    struct cli_options cli = options(true);
    struct config *c =
        load("[GLOBAL]\nerror_log = log/x.log\nlog_level = warn\nprocess_control_timeout = 2m\n"
             "rlimit_core = unlimited\n" POOL "user = nobody\nprocess.priority = -5\n"
             "slowlog = log/$pool.slow\nenv[A] = $HOME\nphp_flag[x] = on\nphp_admin_flag[y] = Off\n"
             "php_value[z] = E_ALL\naccess.suppress_path[] = /ping\nping.path = /p\n"
             "listen.mode = 0600\n[other]\nlisten = /tmp/$pool.sock\npm = ondemand\n"
             "pm.max_children = auto\n[www]\nprefix = /tmp\nclear_env = no\n",
             &cli);

    (void)state;
    if (!c) {
        fail_msg("%s", log_text);
    }
    const struct pool_conf *pool = c->pools;
    assert_int_equal(c->pool_count, 2);
    assert_int_equal(c->global.log_level, LEVEL_WARNING);
    assert_int_equal(c->global.process_control_timeout, 120);
    assert_int_equal(c->global.rlimit_core, -1);
    assert_true(c->global.daemonize);
    assert_string_equal(c->global.error_log, TOKIOPHP_LOCALSTATEDIR "/log/x.log");
    assert_string_equal(pool->name, "www");
    assert_int_equal(pool->line, 6);
    assert_int_equal(pool->s.pm, PM_STATIC);
    assert_int_equal(pool->s.max_children, 5);
    assert_int_equal(pool->s.process_priority, -5);
    assert_false(pool->s.clear_env);
    assert_string_equal(pool->s.slowlog, "/tmp/log/www.slow");
    assert_string_equal(pool->s.env->value, "$HOME"); /* whoever becomes the pool's user looks it up */
    assert_null(pool->s.php_flag);
    assert_string_equal(pool->s.php_value->key, "x");
    assert_string_equal(pool->s.php_value->value, "1");
    assert_string_equal(pool->s.php_value->next->value, INI_E_ALL_HAS_STRICT ? "32767" : "30719");
    assert_string_equal(pool->s.php_admin_value->value, "0");
    assert_string_equal(pool->s.access_suppress_path->value, "/ping");
    assert_string_equal(pool->s.ping_response, "pong");
    assert_int_equal(fcgi_settings_of(pool)->options.mode, 0600);
    assert_string_equal(fcgi_settings_of(pool->next)->listen, "/tmp/other.sock");
    assert_true(pool->next->s.max_children >= 1);
    assert_int_equal(fcgi_settings_of(pool->next)->options.mode, 0660);
    config_free(c);
}

static void computes_start_servers(void **state)
{
    struct cli_options cli = options(true);
    struct config *c =
        load("[www]\nlisten = 9000\npm = dynamic\npm.max_children = 5\npm.min_spare_servers = 1\n"
             "pm.max_spare_servers = 3\n",
             &cli);

    (void)state;
    assert_non_null(c);
    assert_int_equal(c->pools->s.start_servers, 2);
    assert_string_equal(log_text, "NOTICE: [pool www] pm.start_servers is not set. It's been set to 2.\n");
    config_free(c);
}

static void loads_forty_pools(void **state)
{
    struct cli_options cli = options(true);
    char text[16384];
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 40; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "[p%d]\nlisten = 127.0.0.1:%d\npm = ondemand\npm.max_children = %d\n", i,
                              9000 + i, i + 1);
    }
    struct config *c = load(text, &cli);
    assert_non_null(c);
    assert_int_equal(c->pool_count, 40);
    int i = 0;
    for (const struct pool_conf *pool = c->pools; pool; pool = pool->next) {
        assert_int_equal(pool->s.max_children, ++i);
    }
    config_free(c);
}

/* -- bad ones -- */

static const struct {
    const char *text, *message; /* one of the lines */
} bad_as_php_fpm[] = {
    {"", "ERROR: No pool defined. at least one pool section must be specified in config file"},
    {"nonsense = 1\n", "ERROR: [%s:1] unknown entry 'nonsense'"},
    {"[www]\npm = x\n", "ERROR: [%s:2] unable to parse value for entry 'pm': invalid process manager "
                        "(static, dynamic or ondemand)"},
    {"[www]\nx[y] = 1\n", "ERROR: [%s:2] unknown directive 'x'"},
    {"[www]\npm[y] = 1\n", "ERROR: [%s:2] unknown directive 'pm'"},
    {"[www]\nenv = 1\n", "ERROR: [%s:2] unknown entry 'env'"},
    {"[www]\nenv[A] =\n", "ERROR: [%s:2] empty value"},
    {"env[A] = 1\n", "ERROR: [%s:1] Array are not allowed in the global section"},
    {"[www]\nphp_value[] = 1\n", "ERROR: [%s:2] You must provide a key for field 'php_value'"},
    {"[www]\naccess.suppress_path[/] = x\n",
     "ERROR: [%s:2] Keys provided to field 'access.suppress_path' are ignored"},
    {"[www]\naccess.suppress_path[] = x\n",
     "ERROR: [%s:2] Values provided to field 'access.suppress_path' must begin with '/'"},
    {"[www]\nphp_flag[a] = x\n", "ERROR: [%s:2] error while parsing 'php_flag[a]' : invalid boolean value"},
    {"[www\n", "ERROR: [%s:1] syntax error, unexpected end of file, expecting ']'"},
    {"log_limit = 64\n" POOL, "ERROR: log_limit must be greater than 512"},
    {"process.max = -1\n" POOL, "ERROR: process_max can't be negative"},
    {"process.priority = 21\n" POOL, "ERROR: process.priority must be included into [-19,20]"},
    {"events.mechanism = magic\n" POOL, "ERROR: event mechanism 'magic' is not available on this system"},
    {"[www]\npm = static\n", "ALERT: [pool www] no listen address have been defined!"},
    {"[www]\nlisten = 9000\n",
     "ALERT: [pool www] the process manager is missing (static, dynamic or ondemand)"},
    {"[www]\nlisten = 9000\npm = static\n", "ALERT: [pool www] pm.max_children must be a positive value"},
    {POOL "pm.max_children = -3\n", "ALERT: [pool www] pm.max_children must be a positive value"},
    {POOL "pm = dynamic\n", "ALERT: [pool www] pm.min_spare_servers(0) must be a positive value"},
    {POOL "pm = dynamic\npm.min_spare_servers = 1\n",
     "ALERT: [pool www] pm.max_spare_servers(0) must be a positive value"},
    {POOL "pm = dynamic\npm.min_spare_servers = 1\npm.max_spare_servers = 6\n",
     "ALERT: [pool www] pm.min_spare_servers(1) and pm.max_spare_servers(6) cannot be greater than "
     "pm.max_children(5)"},
    {POOL "pm = dynamic\npm.min_spare_servers = 3\npm.max_spare_servers = 2\n",
     "ALERT: [pool www] pm.max_spare_servers(2) must not be less than pm.min_spare_servers(3)"},
    {POOL "pm = dynamic\npm.min_spare_servers = 1\npm.max_spare_servers = 2\npm.start_servers = 4\n",
     "ALERT: [pool www] pm.start_servers(4) must not be less than pm.min_spare_servers(1) and not greater "
     "than "
     "pm.max_spare_servers(2)"},
    {POOL "pm = dynamic\npm.min_spare_servers = 1\npm.max_spare_servers = 2\npm.max_spawn_rate = 0\n",
     "ALERT: [pool www] pm.max_spawn_rate must be a positive value"},
    {POOL "pm = ondemand\npm.process_idle_timeout = 0\n",
     "ALERT: [pool www] pm.process_idle_timeout(0s) must be greater than 0s"},
    {"events.mechanism = poll\n" POOL "pm = ondemand\n",
     "ALERT: [pool www] ondemand process manager can ONLY be used when events.mechanism is either epoll "
     "(Linux) or "
     "kqueue (*BSD)."},
    {POOL "process.priority = -20\n", "ERROR: [pool www] process.priority must be included into [-19,20]"},
    {POOL "prefix = /nonexistent\n",
     "ERROR: [pool www] the prefix '/nonexistent' does not exist or is not a directory"},
    {POOL "pm.status_path = s\n", "ERROR: [pool www] the status path 's' must start with a '/'"},
    {POOL "pm.status_path = /\n", "ERROR: [pool www] the status path '/' is not long enough"},
    {POOL "ping.path = /a b\n",
     "ERROR: [pool www] the ping path '/a b' must contain only the following characters '[alphanum]/_-.~'"},
    {POOL "request_slowlog_timeout = 1\n",
     "ERROR: [pool www] 'slowlog' must be specified for use with 'request_slowlog_timeout'"},
    {POOL "slowlog = /x\nrequest_slowlog_timeout = 3\nrequest_terminate_timeout = 2\n",
     "ERROR: [pool www] 'request_slowlog_timeout' (3) can't be greater than 'request_terminate_timeout' (2)"},
    {POOL "chroot = x\n", "ERROR: [pool www] the chroot path 'x' must start with a '/'"},
    {POOL "chdir = /nonexistent\n",
     "ERROR: [pool www] the chdir path '/nonexistent' does not exist or is not a directory"},
    {POOL "access.log = /x\naccess.format = %z\n", "ERROR: [pool www] wrong format for access.format '%%z'"},
    {POOL "listen.owner = no-such-user\n", "ERROR: [pool www] cannot get uid for user 'no-such-user'"},
    {POOL "listen.group = no-such-group\n", "ERROR: [pool www] cannot get gid for group 'no-such-group'"},
    {POOL "[b]\nlisten = 127.0.0.1:9000\npm = static\npm.max_children = 1\n",
     "ERROR: [pool b] unable to set listen address as it's already used in another pool 'www'"},
};

static void reports_as_php_fpm(void **state)
{
    struct cli_options cli = options(true);
    char expected[512];

    (void)state;
    for (size_t i = 0; i < sizeof bad_as_php_fpm / sizeof *bad_as_php_fpm; i++) {
        struct config *c = load(bad_as_php_fpm[i].text, &cli);
        snprintf(expected, sizeof expected, bad_as_php_fpm[i].message, path);
        if (c || !strstr(log_text, expected)) {
            fail_msg("\n%s\nwas %s, and said\n%snot\n%s", bad_as_php_fpm[i].text, c ? "taken" : "refused",
                     log_text, expected);
        }
    }
}

static void reports_all_mistakes_as_tokiophp(void **state)
{
    struct cli_options cli = options(false);
    char expected[2048];

    (void)state;
    assert_null(
        load("pm = static\nlog_levle = debug\n" POOL
             "pm.max_childre = 4\nmax_children = 3\npm.max_children = many\nlog_limit = 3\nzzzzzzzz = 1\n"
             "catch_workers_output = \"maybe\"\nphp_value[] = 3\n",
             &cli));
    snprintf(expected, sizeof expected,
             "ERROR: %s:1: pm belongs into a pool's section, not into [global]\n"
             "ERROR: %s:2: log_levle is not a setting; is log_level meant?\n"
             "ERROR: %s:7: pm.max_childre is not a setting; is pm.max_children meant?\n"
             "ERROR: %s:8: max_children is not a setting; is pm.max_children meant?\n"
             "ERROR: %s:9: pm.max_children = \"many\": expected a number from 1 to 65535, or auto\n"
             "ERROR: %s:10: log_limit belongs into [global], not into a pool's section\n"
             "ERROR: %s:11: zzzzzzzz is not a setting (tokiophp --print-settings lists all)\n"
             "ERROR: %s:12: catch_workers_output = \"maybe\": expected yes or no\n"
             "ERROR: %s:13: You must provide a key for field 'php_value'\n"
             "ERROR: failed to load configuration file '%s'\n",
             path, path, path, path, path, path, path, path, path, path);
    assert_string_equal(log_text, expected);
}

static void treats_long_socket_paths(void **state)
{
    struct cli_options cli = options(true);
    char text[512], name[200];

    (void)state;
    memset(name, 'a', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    snprintf(text, sizeof text, "[www]\nlisten = %s\npm = static\npm.max_children = 1\n", name);
    struct config *c = load(text, &cli);
    assert_non_null(c);
    assert_non_null(strstr(log_text, "WARNING: [pool www] cannot bind to UNIX socket '/aaa"));
    assert_non_null(
        strstr(log_text, "(found length: 199, maximal length: 108), trying cut socket path instead '/aaa"));
    config_free(c);
    cli.test = 1;
    assert_null(load(text, &cli));
    assert_non_null(strstr(log_text, "ERROR: [pool www] cannot bind to UNIX socket '/aaa"));
}

/* -- environment, command line -- */

static void prefers_environment_to_file(void **state)
{
    struct cli_options own = options(false), fpm = options(true);

    (void)state;
    setenv("PHP_WORKERS", "9", 1);
    setenv("LOG_LEVEL", "info", 1);
    setenv("ACCESS_LOG", "1", 1);
    setenv("EXECUTOR", "stub", 1);
    struct config *c = load(POOL, &own);
    assert_non_null(c);
    assert_int_equal(c->pools->s.max_children, 9);
    assert_int_equal(c->global.log_level, LEVEL_NOTICE);
    assert_string_equal(c->pools->s.access_log, "/dev/stdout");
    assert_int_equal(c->pools->s.engine, ENGINE_STUB);
    assert_false(c->global.daemonize);
    config_free(c);

    own.settings = (char *)(uintptr_t) "pm.max_children=11\n";
    c = load(POOL, &own);
    assert_non_null(c);
    assert_int_equal(c->pools->s.max_children, 11);
    config_free(c);

    c = load(POOL, &fpm); /* php-fpm knows none of them */
    assert_non_null(c);
    assert_int_equal(c->pools->s.max_children, 5);
    assert_int_equal(c->pools->s.engine, ENGINE_PHP);
    config_free(c);

    own.settings = NULL;
    c = load(POOL "[two]\nlisten = 9001\npm = static\npm.max_children = 2\n", &own);
    assert_non_null(c); /* nobody can say which pool is meant */
    assert_int_equal(c->pools->s.max_children, 5);
    assert_int_equal(c->pools->next->s.max_children, 2);
    config_free(c);

    setenv("PHP_WORKERS", "many", 1);
    assert_null(load(POOL, &own));
    assert_non_null(
        strstr(log_text, "environment variable PHP_WORKERS = \"many\": expected a number from 1 to 65535"));
    unsetenv("PHP_WORKERS");
    unsetenv("LOG_LEVEL");
    unsetenv("ACCESS_LOG");
    unsetenv("EXECUTOR");
}

static void needs_no_file(void **state)
{
    struct cli_options cli = {
        .daemonize = -1, .allow_root = true, .serve = true, .settings = (char *)(uintptr_t) "listen=9000\n"};
    struct config *c = config_load(&cli);

    (void)state;
    assert_non_null(c);
    assert_null(c->path);
    assert_int_equal(c->pool_count, 1);
    assert_string_equal(c->pools->name, "www");
    assert_false(c->global.daemonize);
    assert_false(c->pools->s.clear_env);
    config_free(c);
    cli.settings = (char *)(uintptr_t) "listen=9000\nno.such.row=1\n";
    assert_null(config_load(&cli));
    assert_non_null(strstr(log_pipe_read(), "no.such.row is not a setting of this build"));
}

static void names_the_missing_file(void **state)
{
    struct cli_options cli = {.daemonize = -1, .prefix = "/nonexistent"};

    (void)state;
    assert_null(config_load(&cli));
    assert_non_null(strstr(log_pipe_read(), "no configuration file /nonexistent/etc/tokiophp.ini"));
    assert_non_null(strstr(log_text, "tokiophp serve DIR"));
    cli.as_php_fpm = true;
    assert_null(config_load(&cli));
    assert_non_null(
        strstr(log_pipe_read(), "failed to open configuration file '/nonexistent/etc/php-fpm.conf'"));
}

/* -- the dump, and anything at all -- */

static void dumps_like_php_fpm(void **state)
{
    struct cli_options cli = options(true);
    struct config *c = load(POOL "env[A] = 1\nenv[B] = 2\nphp_flag[x] = on\npm.max_memory = 1G\n"
                                 "request_terminate_timeout = 1m\n",
                            &cli);

    (void)state;
    assert_non_null(c);
    config_dump(c);
    log_pipe_read();
    static const char *const in_order[] = {
        "NOTICE: [global]\nNOTICE: \tpid = undefined\n",
        "\tsyslog.facility = 24\n",
        "\tlog_level = unknown value\n",
        "\tprocess.priority = undefined\n",
        "\tevents.mechanism = epoll\n",
        "NOTICE:  \nNOTICE: [www]\n",
        "\tlisten = 127.0.0.1:9000\n",
        "\tlisten.backlog = -1\n",
        "\tlisten.allowed_clients = undefined\n",
        "\tpm = static\n",
        "\tpm.process_idle_timeout = 10\n",
        "\trequest_terminate_timeout = 60s\n",
        "\tsecurity.limit_extensions = .php .phar\n",
        "\tenv[B] = 2\n",
        "\tenv[A] = 1\n",
        "\tphp_value[x] = 1\n",
        "\tpm.max_memory = 1073741824\n",
        "NOTICE:  \n",
    };
    const char *at = log_text;
    for (size_t i = 0; i < sizeof in_order / sizeof *in_order; i++) {
        const char *found = strstr(at, in_order[i]);
        if (!found) {
            fail_msg("'%s' is missing, or not in order, in\n%s", in_order[i], log_text);
        }
        at = found + strlen(in_order[i]);
    }
    config_free(c);
}

static const char sample[] =
    "[global]\nlog_level = notice\nerror_log = /dev/stderr\n[www]\nlisten = 9000\n"
    "pm = dynamic\npm.max_children = 5\npm.start_servers = 2\npm.min_spare_servers = 1\n"
    "pm.max_spare_servers = 3\nenv[A] = \"b ${HOME}\"\nphp_admin_flag[x] = on\n"
    "access.suppress_path[] = /p\nlisten.mode = 0660\nchroot = $prefix\n";

/* Loading may fail; it must not crash, leak (under the address sanitizer), or leave nothing said. */
static void try_load(const char *text)
{
    struct cli_options cli = options(false);
    struct config *c = load(text, &cli);

    if (c) {
        config_free(c);
    } else {
        assert_true(log_text[0]);
    }
}

static void survives_any_change(void **state)
{
    static const char changes[] = "\n[]=;\"'${!~ \\-9\xff\x01";
    char text[sizeof sample];

    (void)state;
    for (size_t n = 0; n < sizeof sample; n++) {
        snprintf(text, n + 1, "%s", sample);
        try_load(text);
    }
    for (size_t i = 0; i + 1 < sizeof sample; i++) {
        memcpy(text, sample, sizeof sample);
        text[i] = changes[i % (sizeof changes - 1)];
        try_load(text);
        text[i] = (char)(sample[i] ^ 0x20);
        try_load(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_a_pool),
        cmocka_unit_test(computes_start_servers),
        cmocka_unit_test(loads_forty_pools),
        cmocka_unit_test(reports_as_php_fpm),
        cmocka_unit_test(reports_all_mistakes_as_tokiophp),
        cmocka_unit_test(treats_long_socket_paths),
        cmocka_unit_test(prefers_environment_to_file),
        cmocka_unit_test(needs_no_file),
        cmocka_unit_test(names_the_missing_file),
        cmocka_unit_test(dumps_like_php_fpm),
        cmocka_unit_test(survives_any_change),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
