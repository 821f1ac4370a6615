/* The command line. php-fpm's letters and long names mean what they mean to php-fpm, under whatever name we
 * run; the words (serve, ctl, top, php, doctor, fpm) exist only as tokiophp. Main thread, before anything
 * else; what is allocated lives as long as the process. */
#include "engine/cli.h"

#include <ctype.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/str.h"
#include "engine/cli_listen.h"
#include "engine/config.h"

#define SHORT_OPTIONS "+:c:nd:ehimvty:p:g:RDFO"

static const struct option long_options[] = {
    {"php-ini", required_argument, NULL, 'c'},
    {"no-php-ini", no_argument, NULL, 'n'},
    {"define", required_argument, NULL, 'd'},
    {"profile-info", no_argument, NULL, 'e'},
    {"help", no_argument, NULL, 'h'},
    {"usage", no_argument, NULL, 'h'},
    {"info", no_argument, NULL, 'i'},
    {"modules", no_argument, NULL, 'm'},
    {"version", no_argument, NULL, 'v'},
    {"test", no_argument, NULL, 't'},
    {"fpm-config", required_argument, NULL, 'y'},
    {"config", required_argument, NULL, 'y'},
    {"prefix", required_argument, NULL, 'p'},
    {"pid", required_argument, NULL, 'g'},
    {"allow-to-run-as-root", no_argument, NULL, 'R'},
    {"daemonize", no_argument, NULL, 'D'},
    {"nodaemonize", no_argument, NULL, 'F'},
    {"force-stderr", no_argument, NULL, 'O'},
    {NULL, 0, NULL, 0},
};

/* -- pieces -- */

static void append_line(char **text, const char *line)
{
    char *longer = xasprintf("%s%s\n", *text ? *text : "", line);

    free(*text);
    *text = longer;
}

/* "-d k" means k=1; a value that PHP's ini scanner would take apart is quoted. */
static void add_define(struct cli_options *o, const char *text)
{
    const char *equals = strchr(text, '=');
    char *line;

    if (!equals) {
        line = xasprintf("%s=1", text);
    } else if (equals[1] && !isalnum((unsigned char)equals[1]) && equals[1] != '"' && equals[1] != '\'') {
        line = xasprintf("%.*s=\"%s\"", (int)(equals - text), text, equals + 1);
    } else {
        line = xstrdup(text);
    }
    append_line(&o->php_defines, line);
    free(line);
}

static void add_setting(struct cli_options *o, const char *name, const char *value)
{
    char *line = xasprintf("%s=%s", name, value);

    append_line(&o->settings, line);
    free(line);
}

/* "-y=FILE" is "-y FILE", as php-fpm has it, and the last one counts. A copy: the process title is written
 * over argv. */
static void set_path(const char **path, const char *argument)
{
    free((char *)(uintptr_t)*path);
    *path = xstrdup(*argument == '=' ? argument + 1 : argument);
}

/* -- flags -- */

static void set_action(struct cli *cli, enum cli_action action, char what)
{
    if (cli->action == CLI_RUN) { /* the first one wins */
        cli->action = action;
        cli->what = what;
    }
}

static void refuse(struct cli *cli, const char *what, const char *word)
{
    cli->action = CLI_USAGE;
    free(cli->refused);
    cli->refused = xasprintf("%s '%s'", what, word);
}

/* What getopt_long() refused: it has the letter of a short option, and is past the word of a long one. */
static void refuse_option(struct cli *cli, char **argv, int letter)
{
    const char short_option[] = {'-', (char)optopt, '\0'};
    bool is_long = optind > 0 && strncmp(argv[optind - 1], "--", 2) == 0;

    refuse(cli, letter == ':' ? "no value for the option" : "unknown option",
           is_long ? argv[optind - 1] : short_option);
}

/* false: no such option. */
static bool take_option(struct cli *cli, int letter)
{
    struct cli_options *o = &cli->options;

    switch (letter) {
    case 'c': set_path(&o->php_ini, optarg); break;
    case 'n': o->no_php_ini = true; break;
    case 'd': add_define(o, optarg); break;
    case 'e': o->extended_info = true; break;
    case 'h': set_action(cli, CLI_HELP, 0); break;
    case 'i':
    case 'm':
    case 'v': set_action(cli, CLI_PHP, (char)letter); break;
    case 't': o->test++; break;
    case 'y': set_path(&o->config_path, optarg); break;
    case 'p': set_path(&o->prefix, optarg); break;
    case 'g': set_path(&o->pid_path, optarg); break;
    case 'R': o->allow_root = true; break;
    case 'D': o->daemonize = 1; break;
    case 'F': o->daemonize = 0; break;
    case 'O': o->force_stderr = true; break;
    default: return false;
    }
    return true;
}

static void parse_flags(struct cli *cli, int argc, char **argv)
{
    int letter;

    opterr = 0; /* usage says it all */
    optind = 0; /* from the beginning, whatever was parsed before */
    while ((letter = getopt_long(argc, argv, SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (letter == '?' && optopt == '?') {
            set_action(cli, CLI_HELP, 0);
        } else if (!take_option(cli, letter)) {
            refuse_option(cli, argv, letter);
            return;
        }
    }
    if (optind < argc) {
        refuse(cli, "unknown command", argv[optind]);
    }
}

/* -- serve -- */

static const struct option serve_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"index", required_argument, NULL, 'I'},
    {"workers", required_argument, NULL, 'w'},
    {"worker", required_argument, NULL, 'W'},
    {"watch", optional_argument, NULL, 'x'},
    {"tls-cert", required_argument, NULL, 'C'},
    {"tls-key", required_argument, NULL, 'K'},
    {"tls", no_argument, NULL, 'T'},
    {"open", no_argument, NULL, 'o'},
    {"php-ini", required_argument, NULL, 'c'},
    {"no-php-ini", no_argument, NULL, 'n'},
    {"define", required_argument, NULL, 'd'},
    {"test", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* What an application is made of, without what it and its tools write. */
static const char watched[] =
    "**/*.php **/*.twig **/*.html **/*.css **/*.js **/*.yaml **/*.yml **/.env* .env* "
    "!**/var/** !**/cache/** !**/storage/** !**/node_modules/**";

/* FILE, or FILE,N. */
static void add_worker_script(struct cli_options *o, const char *text)
{
    char *file = xstrdup(text), *comma = strrchr(file, ',');

    if (comma && comma[1] && strspn(comma + 1, "0123456789") == strlen(comma + 1)) {
        *comma = '\0';
        add_setting(o, "worker.num", comma + 1);
    }
    add_setting(o, "worker.script", file);
    free(file);
}

struct serve_words {
    const char *directory, *listen;
    bool tls;
};

static bool take_serve_option(struct cli *cli, int letter, struct serve_words *words)
{
    struct cli_options *o = &cli->options;

    switch (letter) {
    case 1: /* a word */
        if (words->directory) {
            refuse(cli, "a second directory", optarg);
        }
        words->directory = optarg;
        break;
    case 'l':
        if (strstr(optarg, "://")) {
            refuse(cli,
                   "--listen takes a port or HOST:PORT, and tls: before it for HTTPS; it is no URL:", optarg);
        }
        words->listen = optarg;
        break;
    case 'I': add_setting(o, "http.index", optarg); break;
    case 'w': add_setting(o, "pm.max_children", optarg); break;
    case 'W': add_worker_script(o, optarg); break;
    case 'x':
        add_setting(o, "worker.watch", optarg ? optarg : watched);
        add_setting(o, "http.live_reload", "/.tokiophp/reload");
        break;
    case 'C':
        add_setting(o, "http.tls_cert", optarg);
        words->tls = true;
        break;
    case 'K': add_setting(o, "http.tls_key", optarg); break;
    case 'T':
        add_setting(o, "http.tls_self_signed", "yes");
        words->tls = true;
        break;
    case 'o': o->opens = true; break;
    case 'c':
    case 'n':
    case 'd':
    case 't':
    case 'h': return take_option(cli, letter);
    default: return false;
    }
    if (optarg && strchr(optarg, '\n')) { /* settings are lines */
        refuse(cli, "a line break in", optarg);
    }
    return true;
}

/* false: something was refused. */
static bool parse_serve_words(struct cli *cli, int argc, char **argv, struct serve_words *words)
{
    int letter;

    opterr = 0;
    optind = 0; /* from the beginning, whatever was parsed before */
    optarg = NULL;
    while ((letter = getopt_long(argc, argv, "-:c:nd:th", serve_options, NULL)) != -1) {
        if (!take_serve_option(cli, letter, words)) {
            refuse_option(cli, argv, letter);
        }
        if (cli->action == CLI_USAGE) {
            return false;
        }
        optarg = NULL;
    }
    return true;
}

static void set_listen(struct cli_options *o, const struct serve_words *words)
{
    if (!words->listen && !words->tls) {
        return;
    }
    struct cli_addresses at = cli_listen(words->listen ? words->listen : "127.0.0.1", words->tls);

    if (words->listen && strstr(words->listen, "tls:")) { /* one that is named elsewhere comes first */
        add_setting(o, "http.tls_self_signed", "yes");
    }
    add_setting(o, "http.listen", at.plain ? at.plain : "");
    if (at.tls) {
        add_setting(o, "http.tls_listen", at.tls);
    }
    free(at.plain);
    free(at.tls);
}

static void set_serve(struct cli_options *o, const struct serve_words *words)
{
    char *defines = xasprintf("display_errors=1\nhtml_errors=1\nopcache.revalidate_freq=0\n%s",
                              o->php_defines ? o->php_defines : "");

    free(o->php_defines); /* somebody works on these files; what is said with -d comes later, and counts */
    o->php_defines = defines;
    o->serve = o->finds_out = true;
    o->allow_root = true; /* in a container root is the only user there is */
    if (words->directory) {
        add_setting(o, "http.document_root", words->directory);
    }
    set_listen(o, words);
}

static void parse_serve(struct cli *cli, int argc, char **argv)
{
    struct serve_words words = {0};

    if (parse_serve_words(cli, argc, argv, &words)) {
        set_serve(&cli->options, &words);
    }
}

/* -- doctor -- */

/* doctor [FILE or DIR] [OPTION]...: what a start with these would be like. */
static void parse_doctor(struct cli *cli, int argc, char **argv)
{
    struct cli_options *o = &cli->options;
    struct stat st;
    bool word = argc > 1 && argv[1][0] != '-';

    if (word && stat(argv[1], &st) == 0 && S_ISDIR(st.st_mode)) {
        set_serve(o, &(struct serve_words){.directory = argv[1]});
    } else if (word) {
        set_path(&o->config_path, argv[1]);
    }
    parse_flags(cli, argc - word, argv + word);
    set_action(cli, CLI_DOCTOR, 0);
}

/* -- the whole -- */

static bool named_php_fpm(const char *program)
{
    const char *slash = strrchr(program, '/');

    return strstr(slash ? slash + 1 : program, "php-fpm") != NULL;
}

/* No file, but an environment that says what to serve: as in a container. */
static void serve_from_environment(struct cli_options *o)
{
    if (o->as_php_fpm || o->config_path || !config_environment_speaks()) {
        return;
    }
    char *path = config_default_path(o);
    if (access(path, F_OK) < 0) {
        o->serve = true;
        o->allow_root = true;
    }
    free(path);
}

static const char print_settings[] = "--print-settings";

/* --print-settings, --print-settings=FORMAT, or with the format as the next word. */
static void parse_print_settings(struct cli *cli, int argc, char **argv)
{
    const char *rest = argv[1] + strlen(print_settings);

    cli->format = *rest == '=' ? rest + 1 : argc == 3 ? argv[2] : "text";
    cli->action = CLI_PRINT_SETTINGS;
    if (*rest && *rest != '=') {
        refuse(cli, "unknown option", argv[1]);
    } else if (argc > (*rest ? 2 : 3)) {
        refuse(cli, "nothing is known of", argv[*rest ? 2 : 3]);
    }
}

static bool is_word(int argc, char **argv, const char *word)
{
    return argc > 1 && strcmp(argv[1], word) == 0;
}

void cli_parse(int argc, char **argv, struct cli *out)
{
    struct cli_options *o = &out->options;

    *out = (struct cli){.options = {.daemonize = -1, .argc = argc, .argv = argv}};
    o->as_php_fpm = named_php_fpm(argv[0]);
    if (o->as_php_fpm) {
        parse_flags(out, argc, argv);
    } else if (is_word(argc, argv, "fpm")) {
        o->as_php_fpm = true;
        parse_flags(out, argc - 1, argv + 1);
    } else if (is_word(argc, argv, "serve")) {
        parse_serve(out, argc - 1, argv + 1);
    } else if (is_word(argc, argv, "doctor")) {
        parse_doctor(out, argc - 1, argv + 1);
    } else if (is_word(argc, argv, "ctl") || is_word(argc, argv, "top") || is_word(argc, argv, "php")) {
        out->action = is_word(argc, argv, "php") ? CLI_RUN_PHP : CLI_CONTROL;
        out->argc = argc - 1;
        out->argv = argv + 1;
    } else if (argc > 1 && strncmp(argv[1], print_settings, strlen(print_settings)) == 0) {
        parse_print_settings(out, argc, argv);
    } else {
        parse_flags(out, argc, argv);
        serve_from_environment(o);
    }
}

static const char fpm_usage[] =
    "  -c, --php-ini PATH           php.ini, or the directory where it is\n"
    "  -n, --no-php-ini             no php.ini at all\n"
    "  -d, --define NAME[=VALUE]    set a PHP setting\n"
    "  -e, --profile-info           more information for debuggers and profilers\n"
    "  -h, --help                   this text\n"
    "  -i, --info                   phpinfo() as text\n"
    "  -m, --modules                PHP's modules\n"
    "  -v, --version                versions\n"
    "  -y, --fpm-config FILE        the configuration file\n"
    "  -t, --test                   test the configuration; -tt also prints it\n"
    "  -p, --prefix DIR             where relative paths begin\n"
    "  -g, --pid FILE               file for the process id\n"
    "  -R, --allow-to-run-as-root   a pool's user may be root\n"
    "  -D, --daemonize              run in the background, whatever the configuration says\n"
    "  -F, --nodaemonize            stay in the foreground, whatever the configuration says\n"
    "  -O, --force-stderr           with -F: log to stderr although it is not a terminal\n";

static const char own_usage[] =
    "  %s [--config FILE] [OPTION]...\n"
    "  %s serve [DIR] [--listen ADDRESS] [--index FILE] [--workers N]\n"
    "  %*s        [--tls-cert FILE --tls-key FILE]   a web server for DIR, without a configuration file\n"
    "  %s fpm [OPTION]...                  as php-fpm: its default paths and messages\n"
    "  %s ctl COMMAND                      talk to the running server (ctl help)\n"
    "  %s top                              watch the running server\n"
    "  %s php [ARGUMENT]...                PHP's command line, of the same PHP (cron, artisan, composer)\n"
    "  %s doctor [FILE or DIR]             what will hurt: limits, extensions, memory, permissions\n"
    "  %s --print-settings [text|markdown|ini|man]\n"
    "\nOptions:\n";

static const char serve_usage[] =
    "Usage: %s serve [DIR] [OPTION]...\n\n"
    "A web server for DIR (the current folder), without a configuration file. A public/ or web/ with an "
    "index.php\n"
    "below DIR is what is served; paths without a file run the nearest index.php.\n\n"
    "  --listen ADDRESS      8080, HOST:PORT, 0.0.0.0:PORT for other machines, tls:ADDRESS, or several with "
    "commas\n"
    "                        (127.0.0.1:8080)\n"
    "  --index FILE          index.php: all paths without a file run it, other .php files do not run;\n"
    "                        index.html: single-page application\n"
    "  --workers N           requests at once (by CPU)\n"
    "  --worker FILE[,N]     boot this script once on each of N threads (worker mode)\n"
    "  --watch[=PATTERNS]    begin anew when a file changes, and let browsers reload their page\n"
    "  --tls-cert FILE --tls-key FILE   HTTPS, on 127.0.0.1:8443 if --listen does not say otherwise\n"
    "  --tls                 the same with a certificate for localhost, mkcert's if it is there\n"
    "  --open                opens the site in the browser ($BROWSER, xdg-open)\n"
    "  -d NAME=VALUE, -c FILE, -n       PHP's settings, php.ini, no php.ini\n"
    "  -t                    only test\n\n"
    "Examples:\n"
    "  %s serve\n"
    "  %s serve ~/shop --listen 3000 --workers 8\n"
    "  %s serve /srv/site --listen 0.0.0.0:80 -d display_errors=0\n\n"
    "All settings are also environment variables or rows of a file: %s --print-settings\n";

void cli_print_usage(const struct cli *cli, const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *p = slash ? slash + 1 : program;

    if (cli->options.finds_out) {
        printf(serve_usage, p, p, p, p, p);
        return;
    }
    if (cli->options.as_php_fpm) {
        printf("Usage: %s [-n] [-e] [-h] [-i] [-m] [-v] [-t] [-p DIR] [-g FILE] [-c FILE] [-d NAME[=VALUE]] "
               "[-y FILE] [-R] [-D] [-F [-O]]\n",
               p);
    } else {
        printf("Usage:\n");
        printf(own_usage, p, p, (int)strlen(p), "", p, p, p, p, p, p);
    }
    printf("%s", fpm_usage);
    if (!cli->options.as_php_fpm) {
        printf("\nWithout -D it stays in the foreground, where php-fpm would not, unless the file says "
               "daemonize = yes.\n");
    }
}

void cli_print_refusal(const struct cli *cli, const char *program)
{
    if (cli->options.as_php_fpm) {
        cli_print_usage(cli, program);
    } else {
        fprintf(stderr, "tokiophp: %s; 'tokiophp --help' says what there is\n", cli->refused);
    }
}
