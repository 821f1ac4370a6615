#include "fcgi/script_policy.h"

#include <stdlib.h>
#include <string.h>

int script_policy_init(struct script_policy *policy, const struct pool_settings *s)
{
    const char *list = s->limit_extensions ? s->limit_extensions : ".php .phar";
    size_t count = 0;

    *policy = (struct script_policy){.ping_path = s->ping_path, .status_path = s->status_path};
    policy->status_listen_path = s->status_path ? s->status_path : "/";
    if (!*list) {
        return 0;
    }
    policy->extensions = calloc(strlen(list) / 2 + 2, sizeof(char *));
    if (!policy->extensions) {
        return -1;
    }
    for (const char *p = list + strspn(list, " \t"); *p; p += strspn(p, " \t")) {
        size_t n = strcspn(p, " \t");

        policy->extensions[count] = strndup(p, n);
        if (!policy->extensions[count++]) {
            script_policy_free(policy);
            return -1;
        }
        p += n;
    }
    return 0;
}

void script_policy_free(struct script_policy *policy)
{
    for (char **e = policy->extensions; e && *e; e++) {
        free(*e);
    }
    free(policy->extensions);
    policy->extensions = NULL;
}

bool script_policy_allows(const struct script_policy *policy, const char *script)
{
    size_t n = strlen(script);

    if (!policy->extensions) {
        return true;
    }
    for (char *const *e = policy->extensions; *e; e++) {
        size_t e_n = strlen(*e);

        if (n > e_n && strcmp(script + n - e_n, *e) == 0) {
            return true;
        }
    }
    return false;
}
