/* The command line: the flags of php-fpm, the words of tokiophp, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cli.h"

#define ARGS_MAX 16

/* Words separated by blanks; the options point into `line`, which stays until the next call. */
static struct cli parse(const char *text)
{
    static char line[512];
    static char *argv[ARGS_MAX + 1];
    static struct cli cli;
    int argc = 0;

    free(cli.refused);
    free(cli.options.php_defines);
    free(cli.options.settings);
    const char *paths[] = {cli.options.php_ini, cli.options.config_path, cli.options.prefix,
                           cli.options.pid_path};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        free((char *)(uintptr_t)paths[i]);
    }
    snprintf(line, sizeof line, "%s", text);
    for (char *word = strtok(line, " "); word && argc < ARGS_MAX; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    cli_parse(argc, argv, &cli);
    return cli;
}

static void takes_php_fpm_flags(void **state)
{
    (void)state;
    struct cli cli = parse("/usr/sbin/php-fpm8.4 -n -tt -y a.conf -p /p -g x.pid -R -D -F -O -e -c dir");
    assert_int_equal(cli.action, CLI_RUN);
    assert_true(cli.options.as_php_fpm);
    assert_true(cli.options.no_php_ini && cli.options.allow_root && cli.options.force_stderr);
    assert_true(cli.options.extended_info);
    assert_int_equal(cli.options.test, 2);
    assert_int_equal(cli.options.daemonize, 0); /* the last one */
    assert_string_equal(cli.options.config_path, "a.conf");
    assert_string_equal(cli.options.prefix, "/p");
    assert_string_equal(cli.options.pid_path, "x.pid");
    assert_string_equal(cli.options.php_ini, "dir");
    assert_int_equal(cli.options.argc, 16);

    cli = parse("tokiophp fpm --nodaemonize --allow-to-run-as-root --fpm-config=b.conf --test");
    assert_true(cli.options.as_php_fpm);
    assert_int_equal(cli.options.test, 1);
    assert_string_equal(cli.options.config_path, "b.conf");
    cli = parse("tokiophp --config c.ini");
    assert_false(cli.options.as_php_fpm);
    assert_string_equal(cli.options.config_path, "c.ini");
    assert_int_equal(cli.options.daemonize, -1);
    assert_string_equal(parse("php-fpm -y=d.conf").options.config_path, "d.conf");
    assert_string_equal(parse("php-fpm -yd.conf").options.config_path, "d.conf");
}

static void takes_defines(void **state)
{
    (void)state;
    assert_string_equal(parse("php-fpm -dmemory_limit=1G -d a -d b=/x -d c= -d d=\"q\"").options.php_defines,
                        "memory_limit=1G\na=1\nb=\"/x\"\nc=\nd=\"q\"\n");
}

static void knows_what_to_show(void **state)
{
    static const struct {
        const char *line;
        enum cli_action action;
        char what;
    } cases[] = {
        {"php-fpm -v", CLI_PHP, 'v'},
        {"php-fpm -n -m", CLI_PHP, 'm'},
        {"php-fpm -dmemory-limit=1G -v", CLI_PHP, 'v'},
        {"php-fpm --info", CLI_PHP, 'i'},
        {"php-fpm -h", CLI_HELP, 0},
        {"php-fpm -?", CLI_HELP, 0},
        {"php-fpm --usage", CLI_HELP, 0},
        {"php-fpm --memory-limit=1G", CLI_USAGE, 0},
        {"php-fpm -y", CLI_USAGE, 0},
        {"php-fpm -Z", CLI_USAGE, 0},
        {"php-fpm word", CLI_USAGE, 0},
        {"php-fpm serve", CLI_USAGE, 0}, /* words are tokiophp's */
        {"tokiophp word", CLI_USAGE, 0},
        {"tokiophp ctl status", CLI_CONTROL, 0},
        {"tokiophp top", CLI_CONTROL, 0},
        {"tokiophp --print-settings", CLI_PRINT_SETTINGS, 0},
        {"tokiophp --print-settings=ini", CLI_PRINT_SETTINGS, 0},
        {"tokiophp --print-settings ini", CLI_PRINT_SETTINGS, 0},
        {"tokiophp --print-settings ini x", CLI_USAGE, 0},
        {"tokiophp --print-settingsx", CLI_USAGE, 0},
        {"tokiophp serve a b", CLI_USAGE, 0},
        {"tokiophp serve --nonsense", CLI_USAGE, 0},
        {"tokiophp serve --listen", CLI_USAGE, 0},
        {"tokiophp serve -h", CLI_HELP, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cli cli = parse(cases[i].line);
        if (cli.action != cases[i].action || (cases[i].what && cli.what != cases[i].what)) {
            fail_msg("%s: action %d", cases[i].line, (int)cli.action);
        }
    }
    assert_string_equal(parse("tokiophp --print-settings=ini").format, "ini");
    assert_string_equal(parse("tokiophp --print-settings ini").format, "ini");
    assert_string_equal(parse("tokiophp --print-settings").format, "text");
    assert_string_equal(parse("tokiophp ctl status").argv[0], "ctl");
}

static void says_what_it_refuses(void **state)
{
    static const struct {
        const char *line, *refused;
    } cases[] = {
        {"tokiophp word", "unknown command 'word'"},
        {"tokiophp -F word", "unknown command 'word'"},
        {"tokiophp -Z", "unknown option '-Z'"},
        {"tokiophp -FZ", "unknown option '-Z'"},
        {"tokiophp --nonsense=1", "unknown option '--nonsense=1'"},
        {"tokiophp -y", "no value for the option '-y'"},
        {"tokiophp --config", "no value for the option '--config'"},
        {"tokiophp --print-settingsx", "unknown option '--print-settingsx'"},
        {"tokiophp --print-settings ini x", "nothing is known of 'x'"},
        {"tokiophp serve a b", "a second directory 'b'"},
        {"tokiophp serve --nonsense", "unknown option '--nonsense'"},
        {"tokiophp serve a --listen", "no value for the option '--listen'"},
        {"tokiophp serve --listen http://localhost:3000/",
         "--listen takes a port or HOST:PORT, and tls: before it for HTTPS; it is no URL: "
         "'http://localhost:3000/'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(parse(cases[i].line).refused, cases[i].refused);
    }
}

static void serves_a_directory(void **state)
{
    (void)state;
    struct cli cli = parse("tokiophp serve public --listen 0.0.0.0:80 --index index.php --workers 3 -t");
    assert_int_equal(cli.action, CLI_RUN);
    assert_true(cli.options.serve);
    assert_int_equal(cli.options.test, 1);
    assert_string_equal(cli.options.settings,
                        "http.index=index.php\npm.max_children=3\nhttp.document_root=public\n"
                        "http.listen=0.0.0.0:80\n");
    cli = parse("tokiophp serve --tls-cert c.pem --tls-key k.pem");
    assert_string_equal(cli.options.settings, "http.tls_cert=c.pem\nhttp.tls_key=k.pem\nhttp.listen=\n"
                                              "http.tls_listen=127.0.0.1:8443\n");
    static const char *const listen[][2] = {
        {"3000", "http.listen=127.0.0.1:3000\n"},
        {":3000", "http.listen=127.0.0.1:3000\n"},
        {"0.0.0.0:80", "http.listen=0.0.0.0:80\n"},
        {"localhost:80", "http.listen=localhost:80\n"},
        {"[::1]:80", "http.listen=[::1]:80\n"},
        {"/run/x.sock", "http.listen=/run/x.sock\n"},
        {"tls:3000", "http.tls_self_signed=yes\nhttp.listen=\nhttp.tls_listen=127.0.0.1:3000\n"},
        {"tls:10.0.0.1:443", "http.tls_self_signed=yes\nhttp.listen=\nhttp.tls_listen=10.0.0.1:443\n"},
        {"3000,:3001", "http.listen=127.0.0.1:3000,127.0.0.1:3001\n"},
        {"localhost", "http.listen=localhost:8080\n"},
        {"0.0.0.0", "http.listen=0.0.0.0:8080\n"},
        {"::1", "http.listen=[::1]:8080\n"},
        {"[::1]", "http.listen=[::1]:8080\n"},
        {"./x.sock", "http.listen=./x.sock\n"},
        {"unix:/run/x.sock", "http.listen=/run/x.sock\n"},
        {"3000,", "http.listen=127.0.0.1:3000\n"},
        {",", "http.listen=\n"},
        {"tls:tls:3000", "http.tls_self_signed=yes\nhttp.listen=\nhttp.tls_listen=127.0.0.1:3000\n"},
        {"@x", "http.listen=@x\n"},
        {"tls:localhost", "http.tls_self_signed=yes\nhttp.listen=\nhttp.tls_listen=localhost:8443\n"},
        {"3000,tls:3443",
         "http.tls_self_signed=yes\nhttp.listen=127.0.0.1:3000\nhttp.tls_listen=127.0.0.1:3443\n"},
        {"tls:3443,3000",
         "http.tls_self_signed=yes\nhttp.listen=127.0.0.1:3000\nhttp.tls_listen=127.0.0.1:3443\n"},
        {"3000,3001 --tls",
         "http.tls_self_signed=yes\nhttp.listen=\nhttp.tls_listen=127.0.0.1:3000,127.0.0.1:3001\n"},
    };
    for (size_t i = 0; i < sizeof listen / sizeof *listen; i++) {
        char command[128];
        snprintf(command, sizeof command, "tokiophp serve --listen %s", listen[i][0]);
        cli = parse(command);
        assert_string_equal(cli.options.settings, listen[i][1]);
    }
    cli = parse("tokiophp serve");
    assert_true(cli.options.serve && cli.options.finds_out);
    assert_null(cli.options.settings);
}

static void serves_what_the_environment_says(void **state)
{
    (void)state;
    setenv("DOCUMENT_ROOT", "/srv", 1);
    assert_true(parse("tokiophp -p /nonexistent").options.serve);
    assert_false(parse("tokiophp --config x").options.serve); /* a file is named */
    assert_false(parse("php-fpm -p /nonexistent").options.serve);
    unsetenv("DOCUMENT_ROOT");
    assert_false(parse("tokiophp -p /nonexistent").options.serve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_php_fpm_flags), cmocka_unit_test(takes_defines),
        cmocka_unit_test(knows_what_to_show),  cmocka_unit_test(says_what_it_refuses),
        cmocka_unit_test(serves_a_directory),  cmocka_unit_test(serves_what_the_environment_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
