/* Idle connections that go to the process which serves the pool from now on: see engine.h. Any thread. */
#include "engine/work/pool_private.h"

bool (*_Atomic pool_on_hand_over)(const struct frontend *frontend, int fd, int kind);

bool pool_can_hand_over(const struct pool *pool)
{
    return atomic_load(&pool_on_hand_over) != NULL && !pool_finishing(pool);
}

bool pool_hand_over(const struct frontend *frontend, int fd, int kind)
{
    bool (*give)(const struct frontend *, int, int) = atomic_load(&pool_on_hand_over);

    return give && give(frontend, fd, kind);
}
