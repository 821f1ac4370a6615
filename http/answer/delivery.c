/* The loop's half of an exchange: pieces arrive, and the client leaves. See the header. */
#include "http/answer/delivery.h"

#include <stddef.h>
#include <stdlib.h>

#include "engine/base/heap.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/answer/accounting.h"
#include "http/answer/exchange.h"
#include "http/answer/reply_message.h"
#include "http/answer/steps.h"
#include "http/net/conn.h"

#define QUEUE_LOW (64u << 10) /* a waiting worker goes on when less than this is unsent */

/* -- arrival -- */

static void free_message(struct reply_message *m)
{
    struct exchange *x = m->exchange;
    size_t n = m->n;
    heap_free(m);
    delivery_unqueue(x, n);
    exchange_drop(x);
}

static void chunk_sent(struct chunk *chunk)
{
    free_message(chunk->owner);
}

/* Tells the connection's protocol that this exchange has news. */
static void tell(struct exchange *x)
{
    if (x->delivery.conn && x->delivery.conn->state != CONN_CLOSED) {
        x->delivery.protocol->news(x->delivery.conn, x);
    }
}

void delivery_take(struct loop *loop, struct loop_message *self)
{
    struct reply_message *m = (struct reply_message *)self;
    struct exchange *x = m->exchange;
    (void)loop;
    if (!x->delivery.conn || x->delivery.conn->state == CONN_CLOSED) {
        free_message(m);
        return;
    }
    if (m->status) {
        x->delivery.protocol->head(x->delivery.conn, x, m->status, m->text, m->n);
        free_message(m);
        return;
    }
    m->chunk = (struct chunk){
        .p = m->text, .n = m->n, .fd = m->fd, .offset = m->offset, .free = chunk_sent, .owner = m};
    chunk_add(&x->delivery.out, &m->chunk);
    tell(x);
}

void delivery_take_back(struct loop *loop, struct loop_message *self)
{
    struct exchange *x =
        (struct exchange *)(void *)((char *)self - offsetof(struct exchange, handover.back_message));
    (void)loop;
    MUST(x->magic == EXCHANGE_MAGIC);
    x->handover.fd = -1;
    atomic_store(&x->handover.lend, LEND_LOOP);
    tell(x);
    exchange_drop(x);
}

void delivery_take_end(struct loop *loop, struct loop_message *self)
{
    struct exchange *x =
        (struct exchange *)(void *)((char *)self - offsetof(struct exchange, handover.end_message));
    (void)loop;
    MUST(x->magic == EXCHANGE_MAGIC);
    x->delivery.out_end = true;
    x->delivery.out_cut = x->reply.cut;
    x->delivery.close = x->reply.close;
    tell(x);
    exchange_drop(x);
}

/* -- what the worker is told -- */

void delivery_abort(struct exchange *x)
{
    atomic_store(&x->handover.gone, true);
    atomic_store_explicit(&x->request.gone, true, memory_order_release);
    exchange_wake(x);
    if (x->delivery.upstream) {
        x->delivery.runner->abort(x);
    }
}

void delivery_resume(struct exchange *x)
{
    if (x->delivery.upstream) {
        x->delivery.runner->resume(x);
    }
}

void delivery_unqueue(struct exchange *x, size_t n)
{
    size_t left = atomic_fetch_sub(&x->handover.queued, n) - n;
    if (left <= QUEUE_LOW) {
        exchange_wake(x);
        delivery_resume(x);
    }
}

void delivery_leave(struct exchange *x)
{
    log_debug("http: the client leaves a request in %s", exchange_step_name(exchange_step(x)));
    x->delivery.conn = NULL;
    delivery_abort(x);
    chunk_clear(&x->delivery.out); /* each piece holds a reference */
    accounting_left(x, false);
    exchange_drop(x);
}
