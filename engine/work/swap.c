/* Why this process should be replaced by a fresh one. Any thread asks, once is enough; the control thread
 * hears of it at once and tells the supervisor. */
#include "engine/work/pool_private.h"

const char *pool_swap_reason(struct pool *pool)
{
    return atomic_load(&pool->swap_reason);
}

void pool_request_swap(struct pool *pool, const char *why)
{
    const char *none = NULL;

    if (atomic_compare_exchange_strong(&pool->swap_reason, &none, why)) {
        pool_wake_control(pool);
    }
}

void pool_request_renewal(struct pool *pool, const char *why)
{
    atomic_fetch_add(&pool->renewals, 1); /* first: the reason is not to be told without it */
    pool_request_swap(pool, why);
    pool_wake_control(pool);
}

void pool_request_reset(struct pool *pool, const char *why)
{
    atomic_fetch_add(&pool->resets, 1); /* first: the reason is not to be told without it */
    pool_request_swap(pool, why);
    pool_wake_control(pool);
}

uint32_t pool_resets(struct pool *pool)
{
    return atomic_load(&pool->resets);
}

void pool_plan_swap(struct pool *pool, const char *why)
{
    pool->swap_planned = true;
    pool_request_swap(pool, why);
}

bool pool_swap_is_planned(const struct pool *pool)
{
    return pool->swap_planned;
}

uint32_t pool_renewals(struct pool *pool)
{
    return atomic_load(&pool->renewals);
}
