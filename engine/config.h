/* Between config.c, config_tables.c, config_outside.c, config_check.c, config_workers.c and config_dump.c.
 * Supervisor's thread. */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include "engine/engine_settings.h"

/* Over what the file said: the environment, then the command line; under both, for `serve`, what a server
 * without a file is like. 0, or -1 (reported). */
int config_apply_outside(struct config *config);

/* config_serve.c: under environment and command line, what a server without a file is like: it stays in the
 * foreground, shows what it does, and passes its environment on, as containers expect. */
void config_make_file_less(struct config *config);
/* Over them, for `serve` (cli->finds_out): where below the folder the site lies, and what runs for paths
 * without a file. */
void config_find_out(struct config *config);
/* A server without a file has a folder to serve. 0, or -1 (reported). */
int config_check_folder(const struct config *config);

/* A variable is set that means this server and no other program. */
bool config_environment_speaks(void);

/* pm and the numbers of workers; "auto" becomes a number. 0, or -1 (reported). */
int config_check_workers(struct config *config, struct pool_conf *pool);

/* What rows cannot check, in php-fpm's order and words; completes the structs. 0, or -1 (reported). */
int config_check(struct config *config);

/* The directory that relative paths of this pool (NULL: of the server) begin at. */
const char *config_prefix(const struct config *config, const struct pool_conf *pool);

/* config_tables.c: calls fn for every table that pools have: the engine's, then the front ends'. in: its
 * struct in this pool; pool may be NULL (in is NULL then). Stops when fn returns non-zero, and returns that.
 */
typedef int (*config_table_fn)(void *ctx, const struct setting_table *table, void *in);
int config_each_table(const struct pool_conf *pool, config_table_fn fn, void *ctx);

/* config_script.c: the pool's worker script. 0 or -1 (reported). */
int config_check_script(struct pool_conf *pool);
/* config_tasks.c: task.script and cron, 0 or -1 (reported); and the pools that they run in, which nothing
 * checks: last of all. */
int config_check_tasks(struct pool_conf *pool);
void config_add_tasks(struct config *config);
/* Patterns of worker.watch that have no folder yet begin at this one. */
void config_watch_from(struct pool_conf *pool, const char *folder);

#endif
