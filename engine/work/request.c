/* A request's life outside of its executor: made by a front end, run by a worker, answered through the front
 * end's functions.
 *
 * Worker threads, except request_init and request_param, which run wherever the front end reads. The request
 * and its arena belong to the front end. io_lock is held inside every io function, so that the control
 * thread, which abandons a request only under trylock, never meets the front end half-way through one. */
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/work/request.h"
#include "engine/work/worker.h"

/* The first block of variables: what a web server sends for one ordinary request. */
#define PARAMS_FIRST 64

void request_init(struct request *r, struct pool *pool, const struct request_io *io, void *front,
                  struct arena *arena)
{
    memset(r, 0, sizeof(*r));
    r->magic = REQUEST_MAGIC;
    r->io = io;
    r->front = front;
    r->pool = pool;
    r->arena = arena;
    r->query = "";
    r->content_length = -1;
    r->proto = 1001;
    r->status = 200;
    pthread_mutex_init(&r->io_lock, NULL);
}

void request_release(struct request *r)
{
    MUST(r->magic == REQUEST_MAGIC);
    r->magic = 0;
    pthread_mutex_destroy(&r->io_lock);
}

/* Room for one more variable. The array doubles: the arena frees nothing, so all its copies together are at
 * most twice the last one. */
static bool params_grow(struct request *r)
{
    if (r->params && r->param_count < r->param_size) {
        return true;
    }
    size_t size = r->param_count >= PARAMS_FIRST ? r->param_count * 2 : PARAMS_FIRST;
    struct param *grown = arena_alloc(r->arena, size * sizeof(*grown));

    if (!grown) {
        return false;
    }
    if (r->param_count) {
        memcpy(grown, r->params, r->param_count * sizeof(*grown));
    }
    r->params = grown;
    r->param_size = size;
    return true;
}

int request_param(struct request *r, struct str name, struct str value)
{
    if (name.n > UINT32_MAX || value.n > UINT32_MAX || !params_grow(r)) {
        return -1;
    }
    const char *name_copy = arena_dup(r->arena, name.n ? name.p : "", name.n);
    const char *value_copy = arena_dup(r->arena, value.n ? value.p : "", value.n);

    if (!name_copy || !value_copy) {
        return -1;
    }
    r->params[r->param_count++] = (struct param){
        .name = name_copy,
        .value = value_copy,
        .name_len = (uint32_t)name.n,
        .value_len = (uint32_t)value.n,
    };
    return 0;
}

/* -- the answer -- */

/* What a front end logs while it holds the request is not for the request's own client: the tap would come
 * back here for the same lock. */
static _Thread_local log_tap_fn held_tap;

static void io_lock(struct request *r)
{
    pthread_mutex_lock(&r->io_lock);
    held_tap = log_tap;
    log_tap = NULL;
}

static void io_unlock(struct request *r)
{
    log_tap = held_tap;
    pthread_mutex_unlock(&r->io_lock);
}

/* True with io_lock held: the front end may be called. */
static bool io_begin(struct request *r)
{
    MUST(r->magic == REQUEST_MAGIC);
    io_lock(r);
    if (r->finished || atomic_load_explicit(&r->gone, memory_order_relaxed)) {
        io_unlock(r);
        return false;
    }
    return true;
}

/* After the response is complete nothing can be "gone": what comes later is simply dropped. */
static int io_refused(const struct request *r)
{
    return r->finished ? 0 : -1;
}

static int io_end(struct request *r, int result)
{
    if (result < 0) {
        atomic_store_explicit(&r->gone, true, memory_order_relaxed);
    }
    io_unlock(r);
    return result < 0 ? -1 : 0;
}

ssize_t request_read_body(struct request *r, char *buf, size_t n)
{
    if (!io_begin(r)) {
        return io_refused(r);
    }
    ssize_t got = r->io->read_body(r, buf, n);

    if (got > 0) {
        r->body_read += (uint64_t)got;
    }
    /* A body that ends too early does not mean that nobody reads the answer: only writing finds that out. */
    io_unlock(r);
    return got;
}

int request_send_head(struct request *r, const struct response_head *head)
{
    if (!io_begin(r)) {
        return io_refused(r);
    }
    if (r->head_sent) {
        return io_end(r, 0);
    }
    r->head_sent = true;
    r->status = head->status;
    return io_end(r, r->io->send_head(r, head));
}

int request_send_interim(struct request *r, const struct response_head *head)
{
    if (!r->io->send_interim) {
        return 0;
    }
    if (!io_begin(r)) {
        return io_refused(r);
    }
    return io_end(r, r->head_sent ? 0 : r->io->send_interim(r, head));
}

int request_write(struct request *r, const char *p, size_t n)
{
    if (!io_begin(r)) {
        return io_refused(r);
    }
    int result = r->io->write(r, p, n);

    if (result == 0) {
        r->body_sent += r->head_counts ? 0 : n;
    }
    return io_end(r, result);
}

int request_flush(struct request *r)
{
    if (!io_begin(r)) {
        return io_refused(r);
    }
    return io_end(r, r->io->flush(r));
}

void request_finish(struct request *r)
{
    MUST(r->magic == REQUEST_MAGIC);
    io_lock(r);
    /* A lost worker's request was abandoned: the front end has let go of it. */
    bool lost = r->worker && atomic_load_explicit(&r->worker->lost, memory_order_relaxed);

    if (r->worker) { /* before the client knows: who sees the answer finds the worker finishing, or done */
        worker_set_state(r->worker, WORKER_FINISHING);
    }
    if (!r->finished && !lost) {
        r->finished = true;
        r->times.finished = clock_us();
        r->io->finish(r);
    }
    io_unlock(r);
}

void request_message(struct request *r, const char *text, size_t n)
{
    if (!r->io->message || !io_begin(r)) {
        return;
    }
    r->io->message(r, text, n);
    io_unlock(r);
}
