#include "fcgi/params.h"

#include <string.h>

static struct param *find(const struct request *r, struct str name)
{
    return (struct param *)request_param_find(r, name);
}

const char *params_get(const struct request *r, struct str name)
{
    const struct param *p = find(r, name);

    return p ? p->value : NULL;
}

static void remove_all(struct request *r, struct str name)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];

        if (p->name_len != name.n || memcmp(p->name, name.p, name.n) != 0) {
            r->params[kept++] = *p;
        }
    }
    r->param_count = kept;
}

int params_set(struct request *r, struct str name, const char *value)
{
    if (!value) {
        remove_all(r, name);
        return 0;
    }
    struct param *p = find(r, name);

    if (!p) {
        return request_param(r, name, str_of(value));
    }
    p->value_len = (uint32_t)strlen(value);
    p->value = arena_dup(r->arena, value, p->value_len);
    if (!p->value) {
        p->value = "";
        p->value_len = 0;
        return -1;
    }
    return 0;
}
