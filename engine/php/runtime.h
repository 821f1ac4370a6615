/* libphp's life in one engine process: start on the main thread, a TSRM entry per worker, stop. Exports the
 * executor (work/executor.h's php_executor) and what the command line shows without serving. */
#ifndef ENGINE_PHP_RUNTIME_H
#define ENGINE_PHP_RUNTIME_H

struct cli_options;

/* -i, -m, -v: print to stdout. what is the option's letter. The process's exit code. */
int php_info_main(const struct cli_options *cli, char what);

#endif
