/* What the pool's settings say about scripts and pages. Made at the start; read-only from then on, for every
 * thread. */
#ifndef FCGI_SCRIPT_POLICY_H
#define FCGI_SCRIPT_POLICY_H

#include "engine/engine.h"

struct script_policy {
    char **extensions; /* security.limit_extensions; NULL-terminated; NULL = all */
    const char *ping_path, *status_path;
    const char *status_listen_path; /* on pm.status_listen: status_path, else "/" */
};

/* 0 or -1 (memory). The strings of the configuration stay where they are. */
int script_policy_init(struct script_policy *policy, const struct pool_settings *s);
void script_policy_free(struct script_policy *policy);
/* May a script of this name run? */
bool script_policy_allows(const struct script_policy *policy, const char *script);

#endif
