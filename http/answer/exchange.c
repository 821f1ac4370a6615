/* The life of an exchange: who holds it, and where its memory goes afterwards. See the header. */
#include "http/answer/exchange.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer/account.h"
#include "http/net/conn.h"

#define ARENA_LIMIT (1u << 20)  /* heads are bounded; this only says no to a bug */
#define KEEP_BUFFER 65536       /* a reply buffer up to this size stays with its exchange */
#define QUEUE_LOW   (64u << 10) /* a waiting worker goes on when less than this is unsent */

static struct exchange *make(struct loop *loop)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x) {
        return NULL;
    }
    x->arena = arena_create(ARENA_LIMIT);
    if (!x->arena || sem_init(&x->space, 0, 0) != 0) {
        if (x->arena) {
            arena_destroy(x->arena);
        }
        free(x);
        return NULL;
    }
    x->loop = loop;
    return x;
}

static struct exchange *take_spare(struct loop *loop)
{
    if (!loop->spares) {
        loop->spares = atomic_exchange_explicit(&loop->returned, NULL, memory_order_acquire);
        loop->spare_count = 0;
        for (struct exchange *x = loop->spares; x; x = x->next) {
            loop->spare_count++;
        }
    }
    struct exchange *x = loop->spares;
    if (x) {
        loop->spares = x->next;
        loop->spare_count--;
    }
    return x;
}

static void destroy(struct exchange *x)
{
    arena_destroy(x->arena);
    sem_destroy(&x->space);
    buf_free(&x->lines);
    buf_free(&x->held);
    buf_free(&x->packed);
    x->magic = 0;
    free(x);
}

struct exchange *exchange_create(struct conn *conn, const struct exchange_delivery *delivery)
{
    struct loop *loop = conn->loop;
    struct exchange *x = take_spare(loop);
    if (!x) {
        x = make(loop);
    }
    if (!x) {
        return NULL;
    }
    x->magic = EXCHANGE_MAGIC;
    x->conn = conn;
    x->delivery = delivery;
    x->fd = -1;
    http_body_init(&x->body);
    x->reply.length = -1;
    x->site = loop->front->main_site;
    x->began_us = x->progress_us = loop->now_us;
    atomic_store_explicit(&x->refs, 1, memory_order_relaxed);
    request_init(&x->request, loop->front->pool, &reply_io, x, x->arena);
    return x;
}

/* A buffer that is worth keeping is emptied, another is freed. */
static void tidy(struct buf *b)
{
    if (b->size > KEEP_BUFFER || b->failed) {
        buf_free(b);
    }
    b->n = 0;
    b->failed = false;
}

/* Everything but what the next request can use. */
static void clean(struct exchange *x)
{
    if (x->answer && x->answer->release) {
        x->answer->release(x->answer->held);
    }
    chunk_clear(&x->out);
    http_body_free(&x->body);
    if (x->reply.compressor) {
        compressor_destroy(x->reply.compressor);
    }
    request_release(&x->request);
    arena_reset(x->arena);
    while (sem_trywait(&x->space) == 0) {
    }
    tidy(&x->lines);
    tidy(&x->held);
    tidy(&x->packed);
    memset(&x->magic, 0, sizeof *x - offsetof(struct exchange, magic));
}

static void give_back(struct exchange *x)
{
    struct loop *loop = x->loop;
    clean(x);
    struct exchange *first = atomic_load_explicit(&loop->returned, memory_order_relaxed);
    do {
        x->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&loop->returned, &first, x, memory_order_release,
                                                    memory_order_relaxed));
}

void exchange_drop(struct exchange *x)
{
    if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) == 1) {
        account_over(x);
        give_back(x);
    }
}

/* Memory of a busy moment goes back. */
static void trim_spares(struct loop *loop)
{
    while (loop->spare_count > LOOP_SPARES) {
        struct exchange *x = take_spare(loop);
        destroy(x);
    }
    if (loop->spare_count == 0) {
        struct exchange *x = take_spare(loop); /* counts what was returned meanwhile */
        if (x) {
            x->next = loop->spares;
            loop->spares = x;
            loop->spare_count++;
        }
    }
}

static void free_spares(struct loop *loop)
{
    struct exchange *x;
    while ((x = take_spare(loop)) != NULL) {
        destroy(x);
    }
}

const struct loop_part exchange_loop_part = {.sweep = trim_spares, .close = free_spares};

void exchange_wake(struct exchange *x)
{
    if (atomic_exchange(&x->waiting, false)) {
        sem_post(&x->space);
    }
}

void exchange_abort(struct exchange *x)
{
    atomic_store(&x->gone, true);
    atomic_store_explicit(&x->request.gone, true, memory_order_release);
    exchange_wake(x);
    if (x->upstream) {
        x->runner->abort(x);
    }
}

void exchange_resume(struct exchange *x)
{
    if (x->upstream) {
        x->runner->resume(x);
    }
}

void exchange_unqueue(struct exchange *x, size_t n)
{
    size_t left = atomic_fetch_sub(&x->queued, n) - n;
    if (left <= QUEUE_LOW) {
        exchange_wake(x);
        exchange_resume(x);
    }
}

void exchange_leave(struct exchange *x)
{
    x->conn = NULL;
    exchange_abort(x);
    exchange_drop(x);
}
