/* The pool's table of workers: they come, and go when their threads have ended or are lost. Control thread.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/work/pool_private.h"

/* An id that nobody has; the table grows if it must. -1: out of memory. */
static int free_id(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (!pool->workers[i]) {
            return (int)i;
        }
    }
    struct worker **grown = realloc(pool->workers, (pool->worker_count + 1) * sizeof(struct worker *));

    if (!grown) {
        return -1;
    }
    pool->workers = grown;
    pool->workers[pool->worker_count] = NULL;
    return (int)pool->worker_count++;
}

/* The other kinds are beside the numbers that pm's rules are about. */
static void count_running(struct pool *pool, const struct worker *w, int change)
{
    if (worker_is_classic(w)) {
        atomic_fetch_add(&pool->running, (uint32_t)change);
    }
}

/* It never ran: what its plan brought is still the caller's. */
static void unmake(struct pool *pool, struct worker *w)
{
    count_running(pool, w, -1);
    w->resident = NULL;
    w->task = NULL;
    worker_destroy(w);
}

int workers_add(struct pool *pool, const struct worker_plan *plan)
{
    if (pool->lock_is_lost) {
        return -1;
    }
    int id = free_id(pool);
    struct worker *w = id >= 0 ? worker_create(pool, id, plan) : NULL;

    if (!w) {
        log_limited(LEVEL_ERROR, "[pool %s] no memory for a worker", pool->conf->name);
        return -1;
    }
    count_running(pool, w, 1);
    if (worker_is_classic(w) && process_max_exceeded(pool)) {
        unmake(pool, w);
        return -1;
    }
    int error = worker_start(w);

    if (error) {
        unmake(pool, w);
        log_limited(LEVEL_ERROR, "[pool %s] cannot start a worker thread: %s (%d)", pool->conf->name,
                    strerror(error), error);
        return -1;
    }
    pool->workers[id] = w;
    return 0;
}

void workers_remove(struct pool *pool, struct worker *w)
{
    pool->workers[w->id] = NULL;
    pool->retired_requests += atomic_load(&w->slot->requests);
    count_running(pool, w, -1);
}

void workers_reap(struct pool *pool, struct worker *w)
{
    pthread_join(w->thread, NULL);
    workers_remove(pool, w);
    worker_destroy(w);
}
