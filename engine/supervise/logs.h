/* The log files that the supervisor opens for everyone: the error log, and each pool's access and slow log.
 * Supervisor's thread. */
#ifndef ENGINE_SUPERVISE_LOGS_H
#define ENGINE_SUPERVISE_LOGS_H

#include "engine/engine_settings.h"

/* Levels, limits, and the error log where php-fpm would use it (daemon, or stderr is no terminal and -O was
 * not given). 0 or -1 (reported). */
int logs_open(const struct cli_options *cli, const struct global_settings *global, bool daemonize);
/* From here on stderr belongs to the log: libraries that write to it end up there. */
int logs_take_stderr(void);
/* Stderr and stdout as we were started with, for a re-execution. */
void logs_restore_stdio(void);
/* SIGUSR1. false: reported; the old file stays. */
bool logs_reopen_error_log(const struct global_settings *global);
void logs_close_original(void); /* a daemon must let go of its caller's */

/* An append-only file of mode 0600, close-on-exec; "/dev/stderr" and "/dev/stdout" are what we were started
 * with: they may be sockets, or not ours to open. waits: for who reads a pipe; a server that serves does not,
 * it hears ENXIO. -1 with errno. */
int logs_open_file(const char *path, bool waits);

#endif
