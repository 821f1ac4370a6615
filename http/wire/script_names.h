/* Which file names run as PHP, and which hold PHP source and must not leave as text. Read-only after
 * creation: any thread. */
#ifndef HTTP_WIRE_SCRIPT_NAMES_H
#define HTTP_WIRE_SCRIPT_NAMES_H

#include <stdbool.h>

#include "engine/base/str.h"

struct script_names;

/* limit_extensions as in security.limit_extensions (".php .phar"). NULL or empty: ".php", because an HTTP
 * server has to know what is a script. */
struct script_names *script_names_create(const char *limit_extensions);
void script_names_destroy(struct script_names *names);
/* Does a file of this path run? Exactly as written: a ".PHP" does not when ".php" is allowed. */
bool script_names_runs(const struct script_names *names, struct str path);
/* Would serving this file show PHP source? True for scripts, for other cases and relatives of ".php" (.PHP,
 * .phtml, .php5, .phps, .inc) and for copies of them (x.php~, x.php.bak, x.php_old, x.php.txt). */
bool script_names_is_source(const struct script_names *names, struct str path);

#endif
