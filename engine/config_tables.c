/* The tables of rows that a pool's settings come from: the engine's and those of the front ends. Any thread,
 * once the configuration is loaded. */
#include <string.h>

#include "engine/base/must.h"
#include "engine/config.h"
#include "engine/engine.h"

int frontend_index(const struct frontend *frontend)
{
    for (int i = 0; frontends[i]; i++) {
        if (frontends[i] == frontend) {
            return i;
        }
    }
    MUST(!"a front end that is in frontends[]");
}

void *pool_frontend_settings(const struct pool_conf *pool, const char *name)
{
    for (int i = 0; frontends[i]; i++) {
        if (strcmp(frontends[i]->name, name) == 0) {
            return pool->frontend_settings[i];
        }
    }
    MUST(!"the name of a front end in frontends[]");
}

int config_each_table(const struct pool_conf *pool, config_table_fn fn, void *ctx)
{
    void *own =
        pool ? (void *)(uintptr_t)&pool->s : NULL; /* a const pool gives a struct that is not changed */
    int result = fn(ctx, &engine_pool_table, own);

    for (int i = 0; frontends[i] && result == 0; i++) {
        result = fn(ctx, frontends[i]->pool_table, pool ? pool->frontend_settings[i] : NULL);
    }
    return result;
}

struct search {
    const char *name;
    const struct setting_row *row;
    void *in;
};

static int search_table(void *ctx, const struct setting_table *table, void *in)
{
    struct search *s = ctx;

    s->row = settings_find(table, s->name);
    s->in = in;
    return s->row != NULL;
}

const struct setting_row *pool_setting(const struct pool_conf *pool, const char *name, void **in)
{
    struct search s = {.name = name};

    config_each_table(pool, search_table, &s);
    if (in) {
        *in = s.in;
    }
    return s.row;
}

const char *pool_setting_text(const struct pool_conf *pool, const char *name)
{
    void *in;
    const struct setting_row *row = pool_setting(pool, name, &in);

    return row ? *(char *const *)((const char *)in + row->offset) : NULL;
}
