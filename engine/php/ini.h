/* Ini settings beyond php.ini: the pool's, of a host, of a directory. */
#ifndef ENGINE_PHP_INI_H
#define ENGINE_PHP_INI_H

#include "engine/engine_settings.h"
#include "engine/php/thread.h"

void ini_defaults(HashTable *configuration); /* sapi_module.ini_defaults */
/* What must be known while PHP starts: "name=value\n" lines of -d and of the pool; malloc'ed. */
char *ini_startup_entries(const struct cli_options *cli, const struct pool_conf *pool);
/* php_value, php_flag and their admin forms, into this thread's table. report: log what cannot be set. */
void ini_apply_pool(const struct pool_conf *pool, bool report);
/* disable_functions and disable_classes of the pool. Main thread: what pool it is, before PHP starts;
 * functions that exist while the module starts are taken out of the table that threads copy; what came later
 * (OPcache's functions) and classes are made unusable where they are. */
void ini_set_pool(const struct pool_conf *pool);
void ini_ban_functions(void);
void ini_ban_late(void);
void ini_each_word(const char *list, void (*fn)(const char *word, size_t n, void *ctx), void *ctx);
/* sapi_module.activate: per host, per directory, .user.ini. */
void ini_activate(const struct request *r);
void ini_user_cache_init(HashTable *cache);
/* The handler of a function that is not there. */
ZEND_FUNCTION(ini_no_function);

#endif
