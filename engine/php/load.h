/* PHP's start, up to the point where it is ready to be told whom it serves. Main thread of the engine
 * process, while that still is what the supervisor was: php.ini, what it names and the environment are read
 * with the supervisor's rights, as by php-fpm's master. No code of the pool's user has run in this process by
 * then; preloaded scripts run as opcache.preload_user, in a child of OPcache's. Source of the order:
 * sapi/fpm/fpm/fpm_main.c and fpm_children.c. */
#ifndef ENGINE_PHP_LOAD_H
#define ENGINE_PHP_LOAD_H

struct cli_options;
struct pool_conf;

/* Up to and including php_module_startup(). 0 or -1 (a message is logged). pool may be NULL. in_child: what a
 * child of OPcache's does before it becomes opcache.preload_user; NULL = nothing. */
int load_php(const struct cli_options *cli, const struct pool_conf *pool, void (*in_child)(void));
/* The process has its user, root and directory now: what PHP remembers of the former ones is forgotten. */
void load_settle(void);

#endif
