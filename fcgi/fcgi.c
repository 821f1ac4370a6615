/* The FastCGI front end's table: what the engine calls, and when, is in engine/engine.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "fcgi/conn.h"
#include "fcgi/exchange.h"
#include "fcgi/listen.h"
#include "fcgi/serve.h"

/* -- supervisor -- */

static int append(const struct pool_conf *pool, const char *address, enum fcgi_listener_kind kind,
                  struct listener **list)
{
    const struct fcgi_settings *s = fcgi_settings_of(pool);
    struct listener *l = xcalloc(1, sizeof(*l));
    char error[256];

    if (sock_parse(address, &l->address, error, sizeof(error)) < 0) {
        log_error("%s", error);
        free(l);
        return -1;
    }
    l->options = s->options;
    l->kind = kind;
    l->reserved = kind == FCGI_STATUS;
    l->lasts = kind == FCGI_INTERNAL;
    l->fd = -1;
    l->frontend = &fcgi_frontend;
    l->pool = pool;
    while (*list) {
        list = &(*list)->next;
    }
    *list = l;
    return 0;
}

static int fcgi_listeners(const struct pool_conf *pool, struct listener **list)
{
    const struct fcgi_settings *s = fcgi_settings_of(pool);

    if (s->listen && *s->listen && append(pool, s->listen, FCGI_PLAIN, list) < 0) {
        return -1;
    }
    if (pool->internal_listen && append(pool, pool->internal_listen, FCGI_INTERNAL, list) < 0) {
        return -1;
    }
    if (pool->s.status_listen && *pool->s.status_listen) {
        return append(pool, pool->s.status_listen, FCGI_STATUS, list);
    }
    return 0;
}

/* -- engine process -- */

static void fcgi_stop(struct pool *pool)
{
    struct fcgi_front *front = pool_front(pool, &fcgi_frontend);

    if (!front) {
        return;
    }
    pool_set_front(pool, &fcgi_frontend, NULL);
    listen_free(front);
    script_policy_free(&front->policy);
    free(front);
}

static int fcgi_start(struct pool *pool, const struct listener *listeners)
{
    struct fcgi_front *front = calloc(1, sizeof(*front));

    if (!front || exchange_init() < 0) {
        free(front);
        return -1;
    }
    front->pool = pool;
    front->frontend = &fcgi_frontend;
    front->serve = fcgi_serve;
    front->settings = fcgi_settings_of(pool_conf(pool));
    front->idle_ms = FCGI_IDLE_MS;
    pool_set_front(pool, &fcgi_frontend, front);
    if (script_policy_init(&front->policy, &pool_conf(pool)->s) < 0 ||
        listen_allow(front, front->settings->allowed_clients) < 0 || listen_take(front, listeners) < 0) {
        fcgi_stop(pool);
        return -1;
    }
    return 0;
}

static int fcgi_open(struct pool *pool)
{
    return listen_open(pool_front(pool, &fcgi_frontend));
}

static void fcgi_refuse(struct pool *pool)
{
    struct fcgi_front *front = pool_front(pool, &fcgi_frontend);

    if (front) {
        listen_leave(front, false);
    }
}

static void fcgi_drain(struct pool *pool)
{
    struct fcgi_front *front = pool_front(pool, &fcgi_frontend);

    if (front) {
        atomic_store(&front->draining, true);
        listen_leave(front, true);
        pool_wait_evict(pool, conn_evict);
    }
}

/* A worker that had not seen `draining` may have armed a connection since: look again. */
static bool fcgi_drained(struct pool *pool)
{
    struct fcgi_front *front = pool_front(pool, &fcgi_frontend);

    if (!front) {
        return true;
    }
    listen_leave(front, true);
    if (atomic_load(&front->open)) {
        pool_wait_evict(pool, conn_evict);
    }
    return atomic_load(&front->open) == 0 && listen_taken(front);
}

static void fcgi_adopt(struct pool *pool, int fd, int kind)
{
    struct fcgi_front *front = pool_front(pool, &fcgi_frontend);

    if (front && (kind == FCGI_PLAIN || kind == FCGI_STATUS || kind == FCGI_INTERNAL)) {
        conn_adopted(front, kind, fd);
    } else {
        close(fd);
    }
}

static void fcgi_tick(struct pool *pool)
{
    struct fcgi_front *front = pool_front(pool, &fcgi_frontend);

    if (front) {
        listen_tick(front);
    }
}

const struct frontend fcgi_frontend = {
    .name = "fcgi",
    .pool_table = &fcgi_pool_table,
    .check = fcgi_settings_check,
    .listeners = fcgi_listeners,
    .start = fcgi_start,
    .open = fcgi_open,
    .refuse = fcgi_refuse,
    .drain = fcgi_drain,
    .drained = fcgi_drained,
    .adopt = fcgi_adopt,
    .stop = fcgi_stop,
    .tick = fcgi_tick,
};
