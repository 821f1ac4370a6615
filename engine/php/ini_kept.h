/* Settings of PHP as a worker script's boot has left them: kept once, put back after each of its requests.
 * Worker's thread. */
#ifndef ENGINE_PHP_INI_KEPT_H
#define ENGINE_PHP_INI_KEPT_H

#include <stdbool.h>

struct ini_kept;

struct ini_kept *ini_keep(void); /* lives in PHP's memory of this run */
/* Both what the boot had changed and what it had not. False: all was as it is. */
bool ini_put_back(const struct ini_kept *kept);
void ini_free_kept(struct ini_kept *kept);

#endif
