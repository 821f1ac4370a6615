/* The supervisor: one thread, no PHP. Opens the sockets, keeps one ready generation of engine processes per
 * pool, obeys signals, and never does anything that could take long or fail for good. */
#ifndef ENGINE_SUPERVISE_SUPERVISOR_H
#define ENGINE_SUPERVISE_SUPERVISOR_H

#include "engine/engine.h"

enum exit_code { EXIT_OK = 0, EXIT_USAGE = 64, EXIT_SOFTWARE = 70, EXIT_CONFIG = 78 };

/* Runs until told to stop; the process's exit code. daemonises if configured. say_ready logs that requests
 * are served from now on. test is -t in a process of its own: an exit code. */
int supervisor_run(const struct cli_options *cli, struct config *config,
                   void (*say_ready)(const struct config *config),
                   int (*test)(const struct cli_options *cli));

/* -t, after success: a supervisor that asks for this test learns that the program is of its own kind. */
void upgrade_introduce(void);
bool upgrade_tests(void); /* does one ask? */
/* No good configuration. After a reload: waits and tries again by execution. Returns if there was none, or if
 * we are told to end. */
void inherited_survive(const struct cli_options *cli);
/* What a start with this configuration would do, as far as it can be undone: log files, identities, sockets.
 * 0 or -1 (reported). */
int rehearse(const struct cli_options *cli, struct config *config);

#endif
