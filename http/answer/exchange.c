/* The life of an exchange: who holds it, and where its memory goes afterwards. See the header. */
#include "http/answer/exchange.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer/accounting.h"
#include "http/net/conn.h"

#define ARENA_LIMIT (1u << 20) /* heads are bounded; this only says no to a bug */
#define KEEP_BUFFER 65536      /* a reply buffer up to this size stays with its exchange */
#define TRIM_US     5000000

static struct exchange *make(struct loop *loop)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x) {
        return NULL;
    }
    x->arena = arena_create(ARENA_LIMIT);
    if (!x->arena || sem_init(&x->handover.space, 0, 0) != 0) {
        if (x->arena) {
            arena_destroy(x->arena);
        }
        free(x);
        return NULL;
    }
    x->loop = loop;
    loop->exchanges++;
    reply_reset(&x->reply);
    return x;
}

static struct exchange *take_spare(struct loop *loop)
{
    if (!loop->spares) {
        loop->spares = atomic_exchange_explicit(&loop->returned, NULL, memory_order_acquire);
    }
    struct exchange *x = loop->spares;
    if (x) {
        loop->spares = x->next;
    }
    return x;
}

static void push(_Atomic(struct exchange *) *stack, struct exchange *x)
{
    struct exchange *first = atomic_load_explicit(stack, memory_order_relaxed);
    do {
        x->next = first;
    } while (
        !atomic_compare_exchange_weak_explicit(stack, &first, x, memory_order_release, memory_order_relaxed));
}

/* A connection whose answer left quietly would keep its exchange until something happens on it. Those that
 * are idle from then on need none. */
static void settle_quiet(struct loop *loop)
{
    struct exchange *x = atomic_exchange_explicit(&loop->quiet, NULL, memory_order_acquire);
    while (x) {
        struct exchange *next = x->next;
        if (x->delivery.conn) {
            x->delivery.protocol->quiet(x->delivery.conn, x);
        }
        exchange_drop(x);
        x = next;
    }
}

static void destroy(struct exchange *x)
{
    arena_destroy(x->arena);
    sem_destroy(&x->handover.space);
    buf_free(&x->reply.lines);
    buf_free(&x->reply.held);
    buf_free(&x->reply.packed);
    x->loop->exchanges--;
    free(x);
}

struct exchange *exchange_create(struct conn *conn)
{
    struct loop *loop = conn->loop;
    struct exchange *x = take_spare(loop);
    if (!x) {
        settle_quiet(loop);
        x = take_spare(loop);
    }
    if (!x) {
        x = make(loop);
    }
    if (!x) {
        return NULL;
    }
    unsigned working = atomic_fetch_add_explicit(&loop->exchanges_working, 1, memory_order_relaxed) + 1;
    if (working > loop->exchanges_most) {
        loop->exchanges_most = working;
    }
    x->magic = EXCHANGE_MAGIC;
    x->delivery.conn = conn;
    x->delivery.protocol = conn->protocol->delivery;
    x->handover.fd = -1;
    http_body_init(&x->http.body);
    x->http.site = loop->front->main_site;
    x->delivery.began_us = x->delivery.progress_us = loop->now_us;
    atomic_store_explicit(&x->refs, 1, memory_order_relaxed);
    request_init(&x->request, loop->front->pool, loop->front->reply_io, x, x->arena);
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

static void clear_delivery(struct delivery *d)
{
    if (d->answer && d->answer->release) {
        d->answer->release(d->answer->held);
    }
    chunk_clear(&d->out);
    *d = (struct delivery){0};
}

/* Everything but what the next request can use. */
static void clean(struct exchange *x)
{
    struct handover *handover = &x->handover;
    clear_delivery(&x->delivery);
    http_body_free(&x->http.body);
    spool_free(&handover->spool);
    if (x->reply.compressor) {
        compressor_destroy(x->reply.compressor);
    }
    request_release(&x->request);
    arena_reset(x->arena);
    while (sem_trywait(&handover->space) == 0) {
    }
    tidy(&x->reply.lines);
    tidy(&x->reply.held);
    tidy(&x->reply.packed);
    x->magic = 0;
    reply_reset(&x->reply);
    memset(&handover->fd, 0, sizeof *handover - offsetof(struct handover, fd));
    x->http = (struct http_request){0};
    x->submission = (struct submission){0};
}

static void give_back(struct exchange *x)
{
    struct loop *loop = x->loop;
    clean(x);
    atomic_fetch_sub_explicit(&loop->exchanges_working, 1, memory_order_relaxed);
    push(&loop->returned, x);
}

void exchange_drop(struct exchange *x)
{
    if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) == 1) {
        accounting_over(x);
        give_back(x);
    }
}

void exchange_done(struct exchange *x)
{
    const struct handover *handover = &x->handover;
    if (!atomic_load_explicit(&handover->by_loop, memory_order_relaxed) && handover->fd >= 0 &&
        atomic_load_explicit(&handover->lend, memory_order_relaxed) == LEND_LOOP) {
        push(&x->loop->quiet, x);
    } else {
        exchange_drop(x);
    }
}

/* Memory of a busy moment goes back, when the moment is over: what is freed and made again all the time
 * leaves holes between the connections that come meanwhile, and they cost more than the spares. */
static void trim_spares(struct loop *loop)
{
    settle_quiet(loop);
    if (loop->now_us - loop->trimmed_us < TRIM_US) {
        return;
    }
    unsigned keep = loop->exchanges_most > LOOP_SPARES ? loop->exchanges_most : LOOP_SPARES;
    struct exchange *x;
    while (loop->exchanges > keep && (x = take_spare(loop)) != NULL) {
        destroy(x);
    }
    loop->trimmed_us = loop->now_us;
    loop->exchanges_most = atomic_load_explicit(&loop->exchanges_working, memory_order_relaxed);
}

static void free_spares(struct loop *loop)
{
    struct exchange *x;
    settle_quiet(loop);
    while ((x = take_spare(loop)) != NULL) {
        destroy(x);
    }
}

/* Some are still at work, or there are more than a quiet loop keeps. */
static bool waits(struct loop *loop)
{
    return atomic_load_explicit(&loop->exchanges_working, memory_order_relaxed) > 0 ||
           loop->exchanges > LOOP_SPARES || atomic_load_explicit(&loop->quiet, memory_order_relaxed);
}

const struct loop_part exchange_loop_part = {.sweep = trim_spares, .waits = waits, .close = free_spares};

void exchange_wake(struct exchange *x)
{
    if (atomic_exchange(&x->handover.waiting, false)) {
        sem_post(&x->handover.space);
    }
}
