/* The program: command line, then one of the things that it asks for. Main thread; no other exists before
 * supervisor_run(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/announce.h"
#include "engine/base/log.h"
#include "engine/cli.h"
#include "engine/doctor.h"
#include "engine/engine.h"
#include "engine/supervise/ctl.h"
#include "engine/supervise/identity.h"
#include "engine/supervise/supervisor.h"
#ifdef HAVE_PHP
#include "engine/php/runtime.h"
#endif

static int show_php(const struct cli *cli)
{
    if (cli->what == 'v' && !cli->options.as_php_fpm) {
        printf("tokiophp %s\n", TOKIOPHP_VERSION);
    }
    fflush(stdout);
#ifdef HAVE_PHP
    return php_info_main(&cli->options, cli->what);
#else
    if (cli->what != 'v') {
        fprintf(stderr, "this build has no PHP\n");
    }
    return cli->what == 'v' ? EXIT_OK : EXIT_SOFTWARE;
#endif
}

/* The command line of the PHP that serves: the same extensions and php.ini, unless it is told another. */
static int run_php(const struct cli *cli)
{
#ifdef HAVE_PHP
    execv(TOKIOPHP_PHP_BINARY, cli->argv);
    fprintf(stderr, "tokiophp: cannot run %s: %s\n", TOKIOPHP_PHP_BINARY, strerror(errno));
#else
    (void)cli;
    fprintf(stderr, "tokiophp: this build has no PHP\n");
#endif
    return EXIT_SOFTWARE;
}

static int print_settings(const struct cli *cli)
{
    if (config_print_settings(cli->format) < 0) {
        cli_print_usage(cli, cli->options.argv[0]);
        return EXIT_USAGE;
    }
    return EXIT_OK;
}

/* -t also looks users and groups up, which a start does later. */
static int test_identities(const struct config *config)
{
    for (const struct pool_conf *pool = config->pools; pool; pool = pool->next) {
        struct identity id = {0};
        if (identity_resolve(pool, config->cli->allow_root, false, &id) < 0) {
            return -1;
        }
        identity_free(&id);
    }
    return 0;
}

static int initialization_failed(const struct cli_options *options)
{
    if (options->as_php_fpm) {
        log_error("FPM initialization failed");
    }
    return EXIT_CONFIG;
}

static int test_config(struct config *config)
{
    if (test_identities(config) < 0) {
        return initialization_failed(config->cli);
    }
    if (config->cli->test > 1) {
        config_dump(config);
    }
    log_notice("configuration file %s test is successful", config->path ? config->path : "(none)");
    if (upgrade_tests() && rehearse(config->cli, config) < 0) {
        return initialization_failed(config->cli);
    }
    upgrade_introduce();
    config_free(config);
    return EXIT_OK;
}

static void say_ready(const struct config *config)
{
    if (config->cli->serve) {
        announce(config);
    } else {
        log_notice("ready to handle connections");
    }
}

/* Of a reload, in a child of the supervisor. */
static int test(const struct cli_options *options)
{
    struct config *config = config_load(options);

    return config ? test_config(config) : initialization_failed(options);
}

static int run(const struct cli *cli)
{
    struct config *config = config_load(&cli->options);

    if (!config) {
        inherited_survive(&cli->options);
        return initialization_failed(&cli->options);
    }
    if (cli->options.test) {
        return test_config(config);
    }
    return supervisor_run(&cli->options, config, say_ready, test);
}

/* One that was closed for us would become a file or a socket of ours, and get what is meant to be read. */
static void open_standard_streams(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    static struct cli cli; /* lives as long as the process: settings point into it */

    if (argc < 1) {
        return EXIT_USAGE;
    }
    open_standard_streams();
    cli_parse(argc, argv, &cli);
    switch (cli.action) {
    case CLI_HELP: cli_print_usage(&cli, argv[0]); return EXIT_OK;
    case CLI_USAGE: cli_print_refusal(&cli, argv[0]); return EXIT_USAGE;
    case CLI_PHP: return show_php(&cli);
    case CLI_PRINT_SETTINGS: return print_settings(&cli);
    case CLI_CONTROL: return ctl_main(cli.argc, cli.argv);
    case CLI_RUN_PHP: return run_php(&cli);
    case CLI_DOCTOR: return doctor_main(&cli.options);
    case CLI_RUN: break;
    }
    return run(&cli);
}
