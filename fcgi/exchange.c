/* See exchange.h. */
#include <pthread.h>
#include <stdlib.h>

#include "engine/base/log.h"
#include "fcgi/exchange.h"

#define ARENA_MAX (8u << 20)

static _Thread_local struct fcgi_exchange *mine;
static pthread_key_t at_thread_end;

static void exchange_free(void *exchange)
{
    struct fcgi_exchange *x = exchange;

    arena_destroy(x->arena);
    free(x);
    mine = NULL;
}

struct fcgi_exchange *exchange_mine(void)
{
    if (mine) {
        return mine;
    }
    struct fcgi_exchange *x = calloc(1, sizeof(*x));

    if (!x) {
        return NULL;
    }
    atomic_init(&x->fd, -1);
    x->arena = arena_create(ARENA_MAX);
    if (!x->arena || pthread_setspecific(at_thread_end, x) != 0) {
        exchange_free(x);
        return NULL;
    }
    mine = x;
    return x;
}

int exchange_init(void)
{
    static bool have_key;

    if (!have_key) {
        int error = pthread_key_create(&at_thread_end, exchange_free);

        if (error) {
            log_error("fcgi: no key for the workers' data (%d)", error);
            return -1;
        }
        have_key = true;
    }
    return 0;
}

void exchange_begin(struct fcgi_exchange *x, struct fcgi_conn *c)
{
    x->conn = c;
    x->keep = c->head.keep;
    x->muted = x->aborted = x->has_message = x->may_hint = x->hinted = false;
    x->looked_us = 0;
    atomic_store(&x->fd, c->wait.fd);
    body_begin(&x->body);
    out_begin(&x->out, c->wait.fd, c->head.id);
}

void exchange_end(struct fcgi_exchange *x)
{
    request_release(&x->request);
    arena_reset(x->arena);
}
