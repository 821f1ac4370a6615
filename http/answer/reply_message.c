/* A response's pieces on their way from a worker to its loop, where delivery.c takes them. */
#include "http/answer/reply_message.h"

#include <stdlib.h>

struct reply_message *reply_message_create(struct exchange *x, size_t n, int status)
{
    struct reply_message *m = malloc(sizeof *m + n + 1);
    if (!m) {
        return NULL;
    }
    *m = (struct reply_message){.message = {.run = delivery_take}, .exchange = x, .status = status, .n = n};
    m->text[n] = '\0';
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    atomic_fetch_add(&x->handover.queued, n);
    return m;
}

void reply_message_end(struct exchange *x)
{
    x->handover.end_message.run = delivery_take_end;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    loop_post(x->loop, &x->handover.end_message);
}
