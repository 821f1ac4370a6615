/* The queue between loops and workers. Loop threads push, workers pop, the control thread takes out what
 * waited too long. A submission belongs to its front end; while it is in here nobody touches it. */
#include "engine/work/queue.h"

void queue_init(struct queue *q)
{
    *q = (struct queue){.head = NULL};
    pthread_mutex_init(&q->lock, NULL);
}

void queue_free(struct queue *q)
{
    pthread_mutex_destroy(&q->lock);
}

/* With the lock held. */
static void changed(struct queue *q, int by)
{
    atomic_fetch_add(&q->count, (uint32_t)by);
    if (q->pending) {
        atomic_fetch_add_explicit(q->pending, (int64_t)by, memory_order_relaxed);
    }
}

bool queue_push(struct queue *q, struct submission *s)
{
    pthread_mutex_lock(&q->lock);
    bool room = atomic_load(&q->count) < q->capacity;

    if (room) {
        s->next = NULL;
        if (q->tail) {
            q->tail->next = s;
        } else {
            q->head = s;
        }
        q->tail = s;
        changed(q, 1);
    }
    pthread_mutex_unlock(&q->lock);
    return room;
}

/* With the lock held. */
static struct submission *take_head(struct queue *q)
{
    struct submission *s = q->head;

    if (s) {
        q->head = s->next;
        if (!q->head) {
            q->tail = NULL;
        }
        s->next = NULL;
        changed(q, -1);
    }
    return s;
}

struct submission *queue_pop(struct queue *q)
{
    if (queue_empty(q)) {
        return NULL;
    }
    pthread_mutex_lock(&q->lock);
    struct submission *s = take_head(q);
    pthread_mutex_unlock(&q->lock);
    return s;
}

struct submission *queue_pop_older(struct queue *q, uint64_t limit_us)
{
    if (queue_empty(q)) {
        return NULL;
    }
    pthread_mutex_lock(&q->lock);
    struct submission *s = q->head && q->head->queued_us < limit_us ? take_head(q) : NULL;
    pthread_mutex_unlock(&q->lock);
    return s;
}
