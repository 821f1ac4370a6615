/* Which script a request means: php-fpm's rules for SCRIPT_FILENAME, PATH_TRANSLATED, PATH_INFO and
 * SCRIPT_NAME, and what is answered when there is none that may run. Worker's thread, no state. */
#ifndef FCGI_SCRIPT_H
#define FCGI_SCRIPT_H

#include "fcgi/script_policy.h"

/* Fills in uri, script, page and the error_* fields, and changes the variables as php-fpm does. pages_only:
 * nothing but the ping and status pages is answered. 0, or -1: the arena is full. */
int script_resolve(struct request *r, const struct script_policy *policy, const struct cgi_rules *rules,
                   bool pages_only);

#endif
