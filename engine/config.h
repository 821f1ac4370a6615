/* Between config.c, config_check.c and config_dump.c. Supervisor's thread. */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include "engine/engine_settings.h"

/* What rows cannot check, in php-fpm's order and words; completes the structs. 0, or -1 (reported). */
int config_check(struct config *config);

/* -y, or where the file is when nobody says; malloc'ed. */
char *config_default_path(const struct cli_options *cli);

/* The directory that relative paths of this pool (NULL: of the server) begin at. */
const char *config_prefix(const struct config *config, const struct pool_conf *pool);

/* Calls fn for every table that pools have: the engine's, then the front ends'. in: its struct in this pool;
 * pool may be NULL (in is NULL then). Stops when fn returns non-zero, and returns that. */
typedef int (*config_table_fn)(void *ctx, const struct setting_table *table, void *in);
int config_each_table(const struct pool_conf *pool, config_table_fn fn, void *ctx);

#endif
