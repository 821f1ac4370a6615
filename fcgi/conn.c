/* A connection's life between requests: see conn.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/heap.h"
#include "engine/base/log.h"
#include "engine/base/sock.h"
#include "fcgi/conn.h"

static struct fcgi_conn *conn_of(struct waitable *w)
{
    return (struct fcgi_conn *)((char *)w - offsetof(struct fcgi_conn, wait));
}

void conn_count_out(struct fcgi_conn *c)
{
    if (atomic_exchange(&c->counted, false)) {
        atomic_fetch_sub(&c->front->open, 1);
        pool_count_connection(c->front->pool, -1);
    }
}

void conn_close(struct fcgi_conn *c, const char *why)
{
    worker_holds(NULL);
    log_debug("fcgi: connection %d from %s closed: %s", c->wait.fd, c->ip, why);
    if (c->waited) {
        pool_wait_forget(c->front->pool, &c->wait);
    }
    close(c->wait.fd);
    fcgi_head_reset(&c->head);
    buf_free(&c->rest);
    conn_count_out(c);
    heap_free(c);
}

/* -- waiting -- */

static const char *const overdue[] = {
    [CONN_NEW] = "nothing came after it was accepted",
    [CONN_IDLE] = "idle for too long",
    [CONN_HEAD] = "the request's head did not become complete",
    [CONN_BUSY] = "",
    [CONN_PASSED] = "",
    [CONN_LINGER] = "the peer did not close",
};

void conn_enter(struct fcgi_conn *c, enum conn_state state, uint64_t ms)
{
    c->state = state;
    c->deadline_us = ms ? clock_coarse_us() + ms * 1000 : 0;
}

void conn_wait(struct fcgi_conn *c)
{
    bool first = !c->waited;
    int result;

    worker_holds(NULL);
    c->waited = true;
    c->wait.deadline_us = c->deadline_us;
    result = first ? pool_wait_add(c->front->pool, &c->wait, WAIT_ONESHOT)
                   : pool_wait_rearm(c->front->pool, &c->wait);
    if (result < 0) {
        c->waited = !first;
        log_limited(LEVEL_ERROR, "fcgi: cannot wait for a connection: %s (%d)", strerror(errno), errno);
        conn_close(c, "it cannot be waited for");
    }
}

static bool has_input(const struct fcgi_conn *c)
{
    char byte;

    return recv(c->wait.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Control thread. A peer whose bytes are here waits for us, because all workers are busy: it is not late. */
static void expired(struct waitable *w)
{
    struct fcgi_conn *c = conn_of(w);

    if (c->state != CONN_LINGER && has_input(c)) {
        conn_enter(c, c->state, FCGI_FIRST_BYTE_MS);
        conn_wait(c);
        return;
    }
    if (c->state == CONN_HEAD) {
        log_limited(LEVEL_WARNING, "fcgi: connection from %s closed: its request was not complete after %d s",
                    c->ip, FCGI_HEAD_MS / 1000);
    }
    conn_close(c, overdue[c->state]);
}

bool conn_hand_over(struct fcgi_conn *c)
{
    if (!pool_can_hand_over(c->front->pool)) {
        return false;
    }
    if (c->waited) { /* the wait set would hear of what the other process is sent */
        pool_wait_forget(c->front->pool, &c->wait);
        c->waited = false;
    }
    if (!pool_hand_over(c->front->frontend, c->wait.fd, c->kind)) {
        return false;
    }
    conn_close(c, "handed over");
    return true;
}

void conn_answered(struct fcgi_conn *c, bool keep, bool clean)
{
    if (keep) {
        conn_enter(c, CONN_IDLE, c->front->idle_ms);
        if (!atomic_load(&c->front->draining) || !conn_hand_over(c)) {
            conn_wait(c);
        }
    } else if (clean) {
        conn_close(c, "answered");
    } else {
        /* Unread input would make close() reset the connection and the peer lose our answer. */
        shutdown(c->wait.fd, SHUT_WR);
        conn_enter(c, CONN_LINGER, FCGI_LINGER_MS);
        conn_wait(c);
    }
}

void conn_evict(struct waitable *w)
{
    struct fcgi_conn *c = conn_of(w);

    if ((c->state == CONN_IDLE || c->state == CONN_NEW) && conn_hand_over(c)) {
        return;
    }
    /* Else a request is on its way and still served, or the next look hands the connection over. */
    if (c->state == CONN_IDLE && !pool_can_hand_over(c->front->pool) && !has_input(c)) {
        conn_close(c, "drained");
    } else {
        conn_wait(c);
    }
}

/* Throws away what comes after our last word. */
static void linger(struct fcgi_conn *c)
{
    char waste[16384];
    ssize_t n = 1;

    for (int i = 0; i < 64 && n > 0; i++) {
        n = recv(c->wait.fd, waste, sizeof(waste), MSG_DONTWAIT);
    }
    c->wait.dry = n < 0;
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))) {
        conn_wait(c);
    } else {
        conn_close(c, "answered, and the peer has closed");
    }
}

static void ready(struct waitable *w, struct worker *worker)
{
    struct fcgi_conn *c = conn_of(w);

    if (c->state == CONN_LINGER) {
        worker_holds(w);
        linger(c);
    } else {
        c->front->serve(c, worker);
    }
}

/* Between its requests, with a worker that is lost: as reply_abandon(). */
static void lost(struct waitable *w)
{
    struct fcgi_conn *c = conn_of(w);

    log_debug("fcgi: connection %d from %s ends: the worker that had it in hand is lost", c->wait.fd, c->ip);
    conn_count_out(c);
    shutdown(c->wait.fd, SHUT_RDWR);
}

/* -- how it comes to be -- */

/* In state CONN_NEW, open and counted; NULL: the descriptor is closed. */
static struct fcgi_conn *create(struct fcgi_front *front, int kind, int fd,
                                const struct sockaddr_storage *peer)
{
    struct fcgi_conn *c = heap_zero(sizeof(*c));

    if (!c) {
        log_limited(LEVEL_ERROR, "fcgi: no memory for a connection");
        close(fd);
        return NULL;
    }
    c->wait = (struct waitable){
        .fd = fd, .ready = ready, .expire = expired, .lost = lost, .reserved = kind == FCGI_STATUS};
    c->front = front;
    c->kind = kind;
    sock_ip(peer, c->ip, sizeof(c->ip));
    fcgi_head_reset(&c->head);
    c->counted = true;
    atomic_fetch_add(&front->open, 1);
    pool_count_connection(front->pool, 1);
    return c;
}

struct fcgi_conn *conn_accepted(struct fcgi_front *front, int kind, int fd,
                                const struct sockaddr_storage *peer)
{
    struct fcgi_conn *c = create(front, kind, fd, peer);
    int one = 1;

    if (!c) {
        return NULL;
    }
    if (peer->ss_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    conn_enter(c, CONN_NEW, FCGI_FIRST_BYTE_MS);
    return c;
}

void conn_adopted(struct fcgi_front *front, int kind, int fd)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNIX};
    socklen_t n = sizeof(peer);
    struct fcgi_conn *c = NULL;

    if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0) {
        c = create(front, kind, fd, &peer);
    } else {
        close(fd);
    }
    if (c) {
        conn_enter(c, CONN_IDLE, front->idle_ms);
        conn_wait(c);
    }
}
