/* A pool's bounded queue of complete requests, first in, first out. Any thread. */
#ifndef ENGINE_WORK_QUEUE_H
#define ENGINE_WORK_QUEUE_H

#include "engine/engine.h"

struct queue {
    _Alignas(64) pthread_mutex_t lock; /* guards the list */
    struct submission *head, *tail;
    _Atomic uint32_t count;   /* written under lock; read without it before a worker sleeps */
    unsigned capacity;        /* set before any worker starts */
    uint64_t wait_limit_us;   /* same; 0 = none */
    _Atomic int64_t *pending; /* same; where others see the count; NULL = nowhere */
};

void queue_init(struct queue *q);
void queue_free(struct queue *q);
bool queue_push(struct queue *q, struct submission *s); /* false: full */
struct submission *queue_pop(struct queue *q);          /* NULL: empty */
/* The oldest one if it was queued before `limit_us`. */
struct submission *queue_pop_older(struct queue *q, uint64_t limit_us);

static inline bool queue_empty(const struct queue *q)
{
    return atomic_load(&q->count) == 0;
}

#endif
