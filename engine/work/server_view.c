/* What the pool tells of the server around it, which the supervisor knows: pages of engine.h, the status
 * page. Any thread; may wait for the supervisor for a moment. */
#include <unistd.h>

#include "engine/telemetry/server_page.h"
#include "engine/work/pool_private.h"

void pool_set_server(struct pool *pool, const struct config *config, const struct pool_server *server)
{
    pool->config = config;
    pool->server = *server;
}

static struct view *look_at_own(const struct pool *pool)
{
    struct view *view = view_create(1);
    struct pool_view own;

    if (!view) {
        return NULL;
    }
    pool_view_init(&own, pool->conf);
    own.start_wall_us = own.counting_since_wall_us = pool->started_wall_us;
    view->partial = true;
    view->finishing = pool_finishing(pool) || pool_leaving(pool);
    view_add_pool(view, &own);
    view_add_board(view, &(struct board_source){.fd = pool->board->fd,
                                                .size = pool->board->size,
                                                .process = getpid(),
                                                .generation = pool->generation,
                                                .draining = pool_draining(pool)});
    return view;
}

struct view *pool_look(const struct pool *pool)
{
    struct view *view = pool->server.look ? pool->server.look() : NULL;

    return view ? view : look_at_own(pool);
}

int pool_server_page(const struct pool *pool, enum server_page page, struct buf *out, const char **type)
{
    bool plain = page == SERVER_LIVE || page == SERVER_CONFIG;
    int code = 503;

    *type = "application/json";
    if (page == SERVER_HISTORY || page == SERVER_SCRIPTS) {
        return pool->server.tell && pool->server.tell(page, out) ? 200 : 503;
    }
    struct view *view = pool->config && !plain ? pool_look(pool) : NULL;

    if (pool->config && (view || plain)) {
        code = server_page(view, pool->config, page, out, type);
    }
    view_free(view);
    return code;
}

bool pool_server_order(const struct pool *pool, enum server_order order, const char *name, const char *token)
{
    return pool->server.order && pool->server.order(order, name, token);
}

int pool_server_profile(const struct pool *pool, const char *name, unsigned seconds, unsigned hz)
{
    return pool->server.profile ? pool->server.profile(name, seconds, hz) : -1;
}
