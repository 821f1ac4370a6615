/* The command line: php-fpm's flags, and tokiophp's own words. Main thread, before anything else. */
#ifndef ENGINE_CLI_H
#define ENGINE_CLI_H

#include "engine/engine_settings.h"

enum cli_action {
    CLI_RUN,            /* serve, or test the configuration */
    CLI_HELP,           /* usage on stdout, exit 0 */
    CLI_USAGE,          /* `refused`; exit 64 */
    CLI_PHP,            /* `what` of php_info_main(): i, m or v */
    CLI_PRINT_SETTINGS, /* `format` */
    CLI_CONTROL,        /* ctl_main(argc, argv) */
    CLI_DOCTOR,         /* doctor_main(options) */
    CLI_RUN_PHP,        /* PHP's command line program with argc, argv */
};

struct cli {
    enum cli_action action;
    struct cli_options options;
    char what;
    char *refused; /* what cannot be understood, and why: a sentence's part, malloc'ed */
    const char *format;
    int argc; /* CLI_CONTROL, CLI_RUN_PHP: from the word on */
    char **argv;
};

/* Fills out; it and its options live as long as the process. */
void cli_parse(int argc, char **argv, struct cli *out);
void cli_print_usage(const struct cli *cli, const char *program);
/* CLI_USAGE: says on stderr what was refused; as php-fpm the usage on stdout, as php-fpm does. */
void cli_print_refusal(const struct cli *cli, const char *program);

#endif
