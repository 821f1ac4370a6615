/* A response's pieces on their way from a worker to its loop, and their arrival there. */
#include "http/answer/reply_message.h"

#include <stdlib.h>

#include "engine/base/must.h"
#include "http/net/conn.h"

static void free_message(struct reply_message *m)
{
    struct exchange *x = m->exchange;
    size_t n = m->n;
    free(m);
    exchange_unqueue(x, n);
    exchange_drop(x);
}

static void chunk_sent(struct chunk *chunk)
{
    free_message(chunk->owner);
}

/* Tells the connection's protocol that this exchange has news. */
static void tell(struct exchange *x)
{
    if (x->conn && x->conn->state != CONN_CLOSED) {
        x->delivery->news(x->conn, x);
    }
}

static void run_message(struct loop *loop, struct loop_message *self)
{
    struct reply_message *m = (struct reply_message *)self;
    struct exchange *x = m->exchange;
    (void)loop;
    if (!x->conn || x->conn->state == CONN_CLOSED) {
        free_message(m);
        return;
    }
    if (m->status) {
        x->delivery->head(x->conn, x, m->status, m->text, m->n);
        free_message(m);
        return;
    }
    m->chunk = (struct chunk){.p = m->text, .n = m->n, .fd = -1, .free = chunk_sent, .owner = m};
    chunk_add(&x->out, &m->chunk);
    tell(x);
}

static void run_end(struct loop *loop, struct loop_message *self)
{
    struct exchange *x = (struct exchange *)(void *)((char *)self - offsetof(struct exchange, end_message));
    (void)loop;
    MUST(x->magic == EXCHANGE_MAGIC);
    x->out_end = true;
    x->out_cut = x->reply.cut;
    x->close = x->reply.close;
    tell(x);
    exchange_drop(x);
}

struct reply_message *reply_message_create(struct exchange *x, size_t n, int status)
{
    struct reply_message *m = malloc(sizeof *m + n + 1);
    if (!m) {
        return NULL;
    }
    *m = (struct reply_message){.message = {.run = run_message}, .exchange = x, .status = status, .n = n};
    m->text[n] = '\0';
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    atomic_fetch_add(&x->queued, n);
    return m;
}

void reply_message_end(struct exchange *x)
{
    x->end_message.run = run_end;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    loop_post(x->loop, &x->end_message);
}
