/* See memory_frontend.h. The test's thread makes calls and looks at them; workers answer; the control thread
 * (in tests the same as the test's) abandons. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/must.h"
#include "tests/support/memory_frontend.h"

static struct memory_call *call_of(struct request *r)
{
    return r->front;
}

static ssize_t read_body(struct request *r, char *buf, size_t n)
{
    struct memory_call *call = call_of(r);
    size_t left = call->body_n - call->body_at;

    n = n < left ? n : left;
    if (n) {
        memcpy(buf, call->body + call->body_at, n);
    }
    call->body_at += n;
    return (ssize_t)n;
}

static int send_head(struct request *r, const struct response_head *head)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    MUST(call->status == 0 && call->finishes == 0);
    call->status = head->status;
    for (size_t i = 0; i < head->count; i++) {
        buf_add(&call->headers, head->lines[i].text, head->lines[i].len);
        buf_text(&call->headers, "\n");
    }
    pthread_mutex_unlock(&call->lock);
    return call->client_gone ? -1 : 0;
}

static int send_interim(struct request *r, const struct response_head *head)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    call->interim = head->status;
    pthread_mutex_unlock(&call->lock);
    return 0;
}

static int write_body(struct request *r, const char *p, size_t n)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    MUST(call->status != 0 && call->finishes == 0);
    buf_add(&call->answer, p, n);
    pthread_mutex_unlock(&call->lock);
    return call->client_gone ? -1 : 0;
}

static int flush(struct request *r)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    MUST(call->finishes == 0);
    call->flushes++;
    pthread_mutex_unlock(&call->lock);
    return call->client_gone ? -1 : 0;
}

static void finish(struct request *r)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    MUST(call->abandoned == 0);
    call->finishes++;
    pthread_cond_broadcast(&call->changed);
    pthread_mutex_unlock(&call->lock);
}

static void message(struct request *r, const char *text, size_t n)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    buf_add(&call->messages, text, n);
    pthread_mutex_unlock(&call->lock);
}

/* The worker may have died with our lock held, too: only what `locked` allows. */
static void abandon(struct request *r, int status, bool locked)
{
    struct memory_call *call = call_of(r);

    if (locked) {
        pthread_mutex_lock(&call->lock);
        MUST(call->finishes == 0);
        pthread_mutex_unlock(&call->lock);
    }
    call->abandoned = status;
    call->abandoned_lock = locked;
}

static void done(struct request *r)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_broadcast(&call->changed);
    pthread_mutex_unlock(&call->lock);
}

static void expired(struct request *r)
{
    struct memory_call *call = call_of(r);

    pthread_mutex_lock(&call->lock);
    call->expired = call->done = true;
    pthread_mutex_unlock(&call->lock);
}

const struct request_io memory_io = {
    .read_body = read_body,
    .send_head = send_head,
    .send_interim = send_interim,
    .write = write_body,
    .flush = flush,
    .finish = finish,
    .message = message,
    .abandon = abandon,
};

struct memory_call *memory_call_new(struct pool *pool, const char *method, const char *uri, const char *query,
                                    const char *body)
{
    struct memory_call *call = xcalloc(1, sizeof(*call));

    call->arena = arena_create(1 << 20);
    MUST(call->arena);
    pthread_mutex_init(&call->lock, NULL);
    pthread_cond_init(&call->changed, NULL);
    call->body = body;
    call->body_n = body ? strlen(body) : 0;
    request_init(&call->request, pool, &memory_io, call, call->arena);
    call->request.method = method;
    call->request.uri = uri;
    call->request.query = query;
    call->request.script = "/srv/app/index.php";
    call->request.content_length = (int64_t)call->body_n;
    call->submission = (struct submission){.request = &call->request, .done = done, .expired = expired};
    return call;
}

enum submit_result memory_submit(struct memory_call *call)
{
    return pool_submit(call->request.pool, &call->submission);
}

bool memory_answered(struct memory_call *call)
{
    /* Its holder may have died: then "not yet". */
    if (call->abandoned || pthread_mutex_trylock(&call->lock) != 0) {
        return call->abandoned;
    }
    bool answered = call->finishes > 0 || call->expired;
    pthread_mutex_unlock(&call->lock);
    return answered;
}

bool memory_done(struct memory_call *call)
{
    if (pthread_mutex_trylock(&call->lock) != 0) {
        return false;
    }
    bool is_done = call->done;
    pthread_mutex_unlock(&call->lock);
    return is_done;
}

void memory_call_free(struct memory_call *call)
{
    if (call->abandoned) {
        return; /* its worker may still look */
    }
    request_release(&call->request);
    arena_destroy(call->arena);
    buf_free(&call->headers);
    buf_free(&call->answer);
    buf_free(&call->messages);
    pthread_cond_destroy(&call->changed);
    pthread_mutex_destroy(&call->lock);
    free(call);
}
