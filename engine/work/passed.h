/* Waitables that a worker has given to workers of another kind: it had read a request that is theirs. First
 * in, first out; any worker's thread. */
#ifndef ENGINE_WORK_PASSED_H
#define ENGINE_WORK_PASSED_H

#include "engine/engine.h"

struct passed_list {
    pthread_mutex_t lock; /* guards the fields below; count is also read without it */
    struct waitable *first, **end;
    _Atomic uint32_t count;
};

void passed_init(struct passed_list *list);
void passed_free(struct passed_list *list);
void passed_put(struct passed_list *list, struct waitable *waitable); /* from now on its taker's */
struct waitable *passed_take(struct passed_list *list);               /* NULL = there is none */
static inline bool passed_empty(const struct passed_list *list)
{
    return atomic_load(&list->count) == 0;
}

#endif
