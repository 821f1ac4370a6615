/* How a connection ends, and when its memory goes. Loop thread only. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "http/net/conn.h"
#include "http/net/limits.h"
#include "http/net/tls.h"

static void unlink_conn(struct conn *c)
{
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        c->loop->conns = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    }
    c->prev = NULL;
    c->next = c->loop->dead;
    c->loop->dead = c;
}

void http_conn_close(struct conn *c, const char *why)
{
    if (c->state == CONN_CLOSED) {
        return;
    }
    if (c->protocol && c->protocol->lent(c)) {
        /* The worker notices, and its hand-back message ends the connection for good. */
        if (!c->closing) {
            c->closing = true;
            shutdown(c->fd, SHUT_RDWR);
            c->protocol->leave(c);
        }
        if (c->protocol->lent(c)) {
            return;
        }
    }
    log_debug("http: connection %d closed: %s", c->fd, why);
    c->state = CONN_CLOSED;
    if (c->protocol) {
        c->protocol->leave(c);
    }
    event_del(&c->event);
    if (c->tls) {
        tls_shutdown(c->tls);
        tls_conn_destroy(c->tls);
    }
    close(c->fd);
    c->fd = -1;
    if (c->in_limit) {
        conn_limit_leave(c->loop->front->per_client, &c->peer);
    }
    chunk_clear(&c->out);
    free(c->in);
    c->in = NULL;
    unlink_conn(c);
    atomic_fetch_sub_explicit(&c->loop->front->connections, 1, memory_order_relaxed);
    pool_count_connection(c->loop->front->pool, -1);
}

void http_conn_free_dead(struct loop *loop)
{
    struct conn *kept = NULL;
    while (loop->dead) {
        struct conn *c = loop->dead;
        loop->dead = c->next;
        if (c->in_again) { /* conn_loop_part's turn still holds it; the next pass frees it */
            c->next = kept;
            kept = c;
            continue;
        }
        c->magic = 0;
        free(c);
    }
    loop->dead = kept;
}
