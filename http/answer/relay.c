/* Answers of other processes on their way to clients. See the header. */
#include "http/answer/relay.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer/reply_head.h"
#include "http/content/helper_pool.h"

#define UNSENT_MAX (128u << 10) /* of an answer: with the helper, and on its way to the client */
#define ROOM       (64u << 10)  /* the loop is told when less than this waits for the helper */

struct piece {
    struct piece *next;
    size_t n;
    char bytes[];
};

enum ending { ENDING_NONE, ENDING_FINISH, ENDING_ABANDON };

struct relay {
    struct helper_task task; /* first: a task is one of these */
    struct exchange *x;
    struct helper_pool *pool;
    struct loop_message room, over;
    pthread_mutex_t lock; /* guards all below */
    struct piece *first, *last;
    size_t waiting; /* bytes that no helper has done yet */
    bool flush;     /* after the last piece */
    enum ending ending;
    int status;                  /* ENDING_ABANDON's */
    bool busy;                   /* the pool has the task */
    bool wants_room, room_is_on; /* the loop waits for `room`; it is on its way */
    bool failed;                 /* the client is gone, or memory is */
};

/* -- helper thread -- */

static int pass_pieces(struct exchange *x, struct piece *batch, size_t *n)
{
    int bad = 0;
    *n = 0;
    while (batch) {
        struct piece *piece = batch;
        batch = piece->next;
        bad = bad ? bad : x->request.io->write(&x->request, piece->bytes, piece->n);
        *n += piece->n;
        free(piece);
    }
    return bad;
}

/* The compressor's memory goes now, not when the client has read everything. Nothing of r is touched
 * afterwards: it is the loop's again. */
static void end(struct relay *r, enum ending ending, int status)
{
    struct exchange *x = r->x;
    if (ending == ENDING_FINISH) {
        x->request.io->finish(&x->request);
    } else {
        x->request.io->abandon(&x->request, status, true);
    }
    compressor_destroy(x->reply.compressor);
    x->reply.compressor = NULL;
    loop_post(x->loop, &r->over);
}

/* The lock is held until the message is posted, because r lives only as long as the helper is seen to be
 * busy. */
static bool done(struct relay *r, size_t n, bool bad)
{
    pthread_mutex_lock(&r->lock);
    r->waiting -= n;
    r->failed |= bad;
    r->busy = r->first || r->flush || r->ending;
    bool more = r->busy;
    if (r->wants_room && !r->room_is_on && r->waiting <= ROOM) {
        r->wants_room = false;
        r->room_is_on = true;
        loop_post(r->x->loop, &r->room);
    }
    pthread_mutex_unlock(&r->lock);
    return more;
}

/* All that is there now. Back into the queue for what came meanwhile: others have their turn. */
static void run(struct helper_task *task)
{
    struct relay *r = (struct relay *)task;
    struct exchange *x = r->x;
    size_t n;
    pthread_mutex_lock(&r->lock);
    struct piece *batch = r->first;
    bool flush = r->flush;
    enum ending ending = r->ending;
    int status = r->status;
    r->first = r->last = NULL;
    r->flush = false;
    pthread_mutex_unlock(&r->lock);
    int bad = pass_pieces(x, batch, &n);
    if (ending) {
        end(r, ending, status);
        return;
    }
    if (!bad && flush) {
        bad = x->request.io->flush(&x->request);
    }
    if (done(r, n, bad != 0) && !helper_pool_add(r->pool, HELPERS_ANSWERS, task)) {
        task->forget(task);
    }
}

/* The process ends: what is left is done as for a client that is gone, which costs nothing. */
static void forget(struct helper_task *task)
{
    struct relay *r = (struct relay *)task;
    atomic_store_explicit(&r->x->handover.gone, true, memory_order_release);
    run(task);
}

/* -- loop thread -- */

/* The answer is over; it is counted when the last reference goes. */
static void let_go(struct exchange *x)
{
    x->delivery.answered = true;
    exchange_drop(x);
}

static void run_over(struct loop *loop, struct loop_message *self)
{
    struct relay *r = (struct relay *)(void *)((char *)self - offsetof(struct relay, over));
    struct exchange *x = r->x;
    (void)loop;
    helper_pool_leave(r->pool);
    pthread_mutex_destroy(&r->lock);
    free(r);
    x->delivery.relay = NULL;
    let_go(x);
}

static void run_room(struct loop *loop, struct loop_message *self)
{
    struct relay *r = (struct relay *)(void *)((char *)self - offsetof(struct relay, room));
    (void)loop;
    pthread_mutex_lock(&r->lock);
    r->room_is_on = false;
    pthread_mutex_unlock(&r->lock);
    delivery_resume(r->x);
}

/* From here on the worker's half of the exchange is the helpers'. */
static struct relay *create(struct exchange *x)
{
    struct helper_pool *pool = x->loop->front->helpers;
    if (!helper_pool_enter(pool)) {
        return NULL;
    }
    struct relay *r = calloc(1, sizeof *r);
    if (!r) {
        helper_pool_leave(pool);
        return NULL;
    }
    r->task = (struct helper_task){.run = run, .forget = forget};
    r->x = x;
    r->pool = pool;
    r->room.run = run_room;
    r->over.run = run_over;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

/* The answer leaves now, and x->reply is still the loop's: makes x->delivery.relay if it is worth
 * compressing. size: of the body, -1 unknown. */
static void choose(struct exchange *x, int64_t size)
{
    if (x->reply.state == REPLY_HELD && !x->reply.file && reply_head_codes(x, size)) {
        x->delivery.relay = create(x);
        if (!x->delivery.relay) {
            x->http.coding = CODING_IDENTITY;
        }
    }
}

/* Lock held; released here. */
static void hand_over(struct relay *r)
{
    bool idle = !r->busy;
    r->busy = true;
    pthread_mutex_unlock(&r->lock);
    if (idle && !helper_pool_add(r->pool, HELPERS_ANSWERS, &r->task)) {
        forget(&r->task);
    }
}

static int push(struct relay *r, const char *p, size_t n)
{
    struct piece *piece = malloc(sizeof *piece + n);
    if (!piece) {
        return -1;
    }
    piece->next = NULL;
    piece->n = n;
    memcpy(piece->bytes, p, n);
    pthread_mutex_lock(&r->lock);
    bool failed = r->failed;
    *(r->first ? &r->last->next : &r->first) = piece;
    r->last = piece;
    r->waiting += n;
    r->flush = false; /* the next pause will ask for it again */
    hand_over(r);
    return failed ? -1 : 0;
}

int relay_write(struct exchange *x, const char *p, size_t n)
{
    if (!x->delivery.relay && !reply_holds(x, n)) {
        choose(x, x->reply.length);
    }
    return x->delivery.relay ? push(x->delivery.relay, p, n) : x->request.io->write(&x->request, p, n);
}

void relay_flush(struct exchange *x)
{
    if (!x->delivery.relay) {
        choose(x, x->reply.length);
    }
    if (!x->delivery.relay) {
        x->request.io->flush(&x->request);
        return;
    }
    pthread_mutex_lock(&x->delivery.relay->lock);
    x->delivery.relay->flush = true;
    hand_over(x->delivery.relay);
}

static void finish_relay(struct relay *r, enum ending ending, int status)
{
    pthread_mutex_lock(&r->lock);
    r->ending = ending;
    r->status = status;
    hand_over(r);
}

void relay_finish(struct exchange *x)
{
    if (!x->delivery.relay) {
        bool page = x->reply.held.n == 0 &&
                    x->reply.status >= 400; /* the administrator's may take the body's place */
        choose(x, page ? -1 : (int64_t)x->reply.held.n);
    }
    if (x->delivery.relay) {
        finish_relay(x->delivery.relay, ENDING_FINISH, 0);
        return;
    }
    x->request.io->finish(&x->request);
    let_go(x);
}

void relay_abandon(struct exchange *x, int status)
{
    if (x->delivery.relay) {
        finish_relay(x->delivery.relay, ENDING_ABANDON, status);
        return;
    }
    x->http.coding = CODING_IDENTITY; /* of the error's page: not worth a helper */
    x->request.io->abandon(&x->request, status, true);
    let_go(x);
}

bool relay_full(struct exchange *x)
{
    size_t queued = atomic_load(&x->handover.queued);
    struct relay *r = x->delivery.relay;
    if (!r) {
        return queued > UNSENT_MAX;
    }
    pthread_mutex_lock(&r->lock);
    bool full = r->waiting + queued > UNSENT_MAX;
    r->wants_room = full;
    pthread_mutex_unlock(&r->lock);
    return full;
}
