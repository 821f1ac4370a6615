/* A connection's life between requests: see conn.h. */
#include <errno.h>
#include <fastcgi.h>
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
#include "fcgi/exchange.h"
#include "fcgi/record.h"

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

static void enter(struct fcgi_conn *c, enum conn_state state, uint64_t ms)
{
    c->state = state;
    c->deadline_us = ms ? clock_coarse_us() + ms * 1000 : 0;
}

/* Into the wait set; afterwards the connection may already be another thread's. */
static void park(struct fcgi_conn *c)
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

void conn_wait(struct fcgi_conn *c)
{
    park(c);
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
        enter(c, c->state, FCGI_FIRST_BYTE_MS);
        park(c);
        return;
    }
    if (c->state == CONN_HEAD) {
        log_limited(LEVEL_WARNING, "fcgi: connection from %s closed: its request was not complete after %d s",
                    c->ip, FCGI_HEAD_MS / 1000);
    }
    conn_close(c, overdue[c->state]);
}

/* To the process that serves the pool from now on. True: the connection is not ours any more. False: there is
 * none, or the way to it is full at the moment. */
static bool hand_over(struct fcgi_conn *c)
{
    if (!pool_can_hand_over(c->front->pool)) {
        return false;
    }
    if (c->waited) { /* the wait set would hear of what the other process is sent */
        pool_wait_forget(c->front->pool, &c->wait);
        c->waited = false;
    }
    if (!pool_hand_over(&fcgi_frontend, c->wait.fd, c->kind)) {
        return false;
    }
    conn_close(c, "handed over");
    return true;
}

void conn_answered(struct fcgi_conn *c, bool keep, bool clean)
{
    if (keep) {
        enter(c, CONN_IDLE, c->front->idle_ms);
        if (!atomic_load(&c->front->draining) || !hand_over(c)) {
            park(c);
        }
    } else if (clean) {
        conn_close(c, "answered");
    } else {
        /* Unread input would make close() reset the connection and the peer lose our answer. */
        shutdown(c->wait.fd, SHUT_WR);
        enter(c, CONN_LINGER, FCGI_LINGER_MS);
        park(c);
    }
}

void conn_evict(struct waitable *w)
{
    struct fcgi_conn *c = conn_of(w);

    if ((c->state == CONN_IDLE || c->state == CONN_NEW) && hand_over(c)) {
        return;
    }
    /* Else a request is on its way and still served, or the next look hands the connection over. */
    if (c->state == CONN_IDLE && !pool_can_hand_over(c->front->pool) && !has_input(c)) {
        conn_close(c, "drained");
    } else {
        park(c);
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
        park(c);
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
        conn_serve(c, worker);
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

/* -- reading heads -- */

static void refuse(struct fcgi_conn *c, const char *why)
{
    log_limited(LEVEL_WARNING, "fcgi: connection from %s closed: %s", c->ip, why);
    conn_close(c, why);
}

/* More is needed. What there is of the head stays with the connection. */
static void wait_for_head(struct fcgi_conn *c)
{
    if (!fcgi_head_idle(&c->head)) {
        if (c->state != CONN_HEAD) {
            enter(c, CONN_HEAD, FCGI_HEAD_MS);
        }
    } else if (c->state != CONN_NEW) {
        enter(c, CONN_IDLE, c->front->idle_ms);
        if (atomic_load(&c->front->draining) && hand_over(c)) {
            return;
        }
    }
    park(c);
}

/* What came, short of a request; false: the connection is gone. */
static bool control_event(struct fcgi_conn *c, enum head_event event)
{
    int fd = c->wait.fd;
    struct fcgi_head *h = &c->head;
    bool sent = true;

    switch (event) {
    case HEAD_VALUES: sent = record_send_values(fd, fcgi_head_asked(h, STR(FCGI_MPXS_CONNS))); break;
    case HEAD_UNKNOWN: sent = record_send_unknown_type(fd, h->reader.header.type); break;
    case HEAD_FOREIGN: sent = record_send_end(fd, h->other_id, FCGI_CANT_MPX_CONN); break;
    case HEAD_ABORTED:
    case HEAD_ROLE:
        sent = record_send_end(fd, h->id, event == HEAD_ROLE ? FCGI_UNKNOWN_ROLE : FCGI_REQUEST_COMPLETE);
        if (sent && !h->keep) {
            conn_answered(c, false, false);
            return false;
        }
        break;
    case HEAD_REFUSED: refuse(c, h->why); return false;
    case HEAD_MORE:
    case HEAD_REQUEST: break;
    }
    if (!sent) {
        conn_close(c, "it does not read");
    }
    return sent;
}

/* Takes what lies in x->input. True: c->head is complete. False: the connection is not ours any more. */
static bool read_head(struct fcgi_conn *c, struct fcgi_exchange *x)
{
    for (;;) {
        const unsigned char *p = x->input + x->input_at;
        size_t n = x->input_n - x->input_at;
        enum head_event event = fcgi_head_feed(&c->head, &p, &n);

        x->input_at = x->input_n - n;
        if (event == HEAD_REQUEST) {
            return true;
        }
        if (event == HEAD_MORE) {
            wait_for_head(c);
            return false;
        }
        if (!control_event(c, event)) {
            return false;
        }
    }
}

/* -- a request -- */

/* To the workers that run such requests, with all that was read. What the exchange has is given back as after
 * a request. */
static void pass(struct fcgi_conn *c, struct fcgi_exchange *x)
{
    struct fcgi_front *front = c->front;

    atomic_store(&x->fd, -1);
    x->conn = NULL;
    buf_add(&c->rest, (const char *)x->input + x->input_at, x->input_n - x->input_at);
    enter(c, CONN_PASSED, 0);
    if (c->waited) {
        pool_wait_forget(front->pool, &c->wait);
        c->waited = false;
    }
    if (!fcgi_head_keep(&c->head) || c->rest.failed) {
        refuse(c, "out of memory");
    } else {
        worker_holds(NULL);
        pool_pass(front->pool, &c->wait, &x->request);
    }
}

/* The head is complete: run the request. True: its connection has the next one in x->input. */
static bool run(struct fcgi_conn *c, struct fcgi_exchange *x, struct worker *worker)
{
    pool_count_reading(worker);
    c->state = CONN_BUSY;
    exchange_begin(x, c);
    bool taken_in = intake_request(x) == 0;

    if (taken_in && !worker_takes(worker, &x->request)) {
        pass(c, x);
    } else {
        fcgi_head_reset(&c->head); /* now: once it is answered, the connection may be another worker's */
        if (taken_in) {
            pool_count_accepted(c->front->pool);
            request_run(worker, &x->request);
        } else {
            log_limited(LEVEL_ERROR, "fcgi: no memory for the variables of a request from %s", c->ip);
            x->request.io->abandon(&x->request, 500, true);
        }
    }
    exchange_end(x);
    return x->conn != NULL;
}

static void run_all(struct fcgi_conn *c, struct fcgi_exchange *x, struct worker *worker)
{
    while (read_head(c, x) && run(c, x, worker)) {
        c->state = CONN_IDLE;
    }
}

/* Its request has been read by another worker. */
static void serve_passed(struct fcgi_conn *c, struct fcgi_exchange *x, struct worker *worker)
{
    memcpy(x->input, c->rest.n ? c->rest.p : "", c->rest.n);
    x->input_at = 0;
    x->input_n = c->rest.n;
    buf_free(&c->rest);
    if (run(c, x, worker)) {
        c->state = CONN_IDLE;
        run_all(c, x, worker);
    }
}

void conn_serve(struct fcgi_conn *c, struct worker *worker)
{
    worker_holds(&c->wait);
    struct fcgi_exchange *x = exchange_mine();

    if (!x) {
        refuse(c, "out of memory");
        return;
    }
    if (!c->waited) {
        c->wait.resident = worker_is_resident(worker);
    }
    if (c->state == CONN_PASSED) {
        serve_passed(c, x, worker);
        return;
    }
    ssize_t n = recv(c->wait.fd, x->input, sizeof(x->input), MSG_DONTWAIT);

    c->wait.dry = n < (ssize_t)sizeof(x->input);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
            park(c);
        } else {
            conn_close(c, n ? strerror(errno) : "the peer closed it");
        }
        return;
    }
    x->input_at = 0;
    x->input_n = (size_t)n;
    if (c->state == CONN_NEW) {
        c->state = CONN_IDLE;
    }
    run_all(c, x, worker);
}

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
    enter(c, CONN_NEW, FCGI_FIRST_BYTE_MS);
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
        enter(c, CONN_IDLE, front->idle_ms);
        park(c);
    }
}
