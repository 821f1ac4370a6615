/* Which script a request means: php-fpm's rules for SCRIPT_FILENAME, PATH_TRANSLATED, PATH_INFO and
 * SCRIPT_NAME, and what is answered when there is none that may run. Worker's thread, no state. */
#ifndef FCGI_SCRIPT_H
#define FCGI_SCRIPT_H

#include "engine/engine.h"

/* What the pool's settings say about scripts and pages; read-only. */
struct script_policy {
    char **extensions; /* security.limit_extensions; NULL-terminated; NULL = all */
    const char *ping_path, *status_path;
    const char *status_listen_path; /* on pm.status_listen: status_path, else "/" */
};

/* 0 or -1 (memory). The strings of the configuration stay where they are. */
int script_policy_init(struct script_policy *policy, const struct pool_settings *s);
void script_policy_free(struct script_policy *policy);

/* Fills in uri, script, page and the error_* fields, and changes the variables as php-fpm does. pages_only:
 * nothing but the ping and status pages is answered. 0, or -1: the arena is full. */
int script_resolve(struct request *r, const struct script_policy *policy, const struct cgi_rules *rules,
                   bool pages_only);

/* Variables, as the rules change them: set replaces or adds, NULL removes. 0, or -1: the arena is full. */
int script_set(struct request *r, struct str name, const char *value);
const char *script_get(const struct request *r, struct str name);

#endif
