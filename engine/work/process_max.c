/* process.max: how many workers all pools of the server may have together. Whoever counts first and finds one
 * too many steps back; so several processes that make workers at once never stay above it. Control thread. */
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

void pool_set_process_max(struct pool *pool, uint32_t max, uint32_t (*running)(void *ctx), void *ctx)
{
    pool->process_max = max;
    pool->process_running = running;
    pool->process_ctx = ctx;
}

static uint32_t process_running(const struct pool *pool)
{
    return pool->process_running ? pool->process_running(pool->process_ctx) : atomic_load(&pool->running);
}

static void warn_process_max(struct pool *pool)
{
    if (!pool->warned_process_max) {
        pool->warned_process_max = true;
        log_warning("The maximum number of processes has been reached. Please review your configuration "
                    "and consider raising 'process.max'");
    }
}

bool process_max_reached(struct pool *pool)
{
    if (pool->process_max == 0) {
        return false;
    }
    if (process_running(pool) < pool->process_max) {
        pool->warned_process_max = false;
        return false;
    }
    warn_process_max(pool);
    return true;
}

bool process_max_exceeded(struct pool *pool)
{
    if (pool->process_max == 0 || process_running(pool) <= pool->process_max) {
        return false;
    }
    warn_process_max(pool);
    return true;
}
