/* Settings of PHP as a worker script's boot has left them: kept once, put back after each of its requests.
 * Worker's thread. */
#ifndef ENGINE_PHP_INI_KEPT_H
#define ENGINE_PHP_INI_KEPT_H

struct ini_kept;

struct ini_kept *ini_keep(void);                /* lives in PHP's memory of this run */
void ini_put_back(const struct ini_kept *kept); /* both what the boot had changed and what it had not */
void ini_free_kept(struct ini_kept *kept);

#endif
