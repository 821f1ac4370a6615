/* A response's pieces on their way from a worker to its loop, where delivery.c takes them. */
#include "http/answer/reply_message.h"

#include <stdlib.h>

#include "engine/base/heap.h"

static struct reply_message *create(struct exchange *x, size_t text, size_t n)
{
    struct reply_message *m = heap_alloc(sizeof *m + text + 1);
    if (!m) {
        return NULL;
    }
    *m = (struct reply_message){.message = {.run = delivery_take}, .exchange = x, .fd = -1, .n = n};
    m->text[text] = '\0';
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    atomic_fetch_add(&x->handover.queued, n);
    return m;
}

struct reply_message *reply_message_create(struct exchange *x, size_t n, int status)
{
    struct reply_message *m = create(x, n, n);
    if (m) {
        m->status = status;
    }
    return m;
}

struct reply_message *reply_message_of_file(struct exchange *x, size_t n, off_t offset)
{
    struct reply_message *m = create(x, 0, n);
    if (m) {
        m->fd = spool_fd(&x->handover.spool);
        m->offset = offset;
    }
    return m;
}

void reply_message_back(struct exchange *x)
{
    atomic_store(&x->handover.by_loop, true);
    x->handover.back_message.run = delivery_take_back;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    loop_post(x->loop, &x->handover.back_message);
}

void reply_message_end(struct exchange *x)
{
    x->handover.end_message.run = delivery_take_end;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    loop_post(x->loop, &x->handover.end_message);
}
