/* What comes on a connection: heads are read, requests run, and the connection is given away again. Worker's
 * thread. */
#include "fcgi/serve.h"

#include <errno.h>
#include <fastcgi.h>
#include <poll.h>
#include <string.h>

#include "engine/base/log.h"
#include "fcgi/exchange.h"
#include "fcgi/record.h"

#define FIRST_BYTE_SOON_MS 1
#define VAIN               16 /* after a wait for nothing so many connections are not waited for */

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
            conn_enter(c, CONN_HEAD, FCGI_HEAD_MS);
        }
    } else if (c->state != CONN_NEW) {
        conn_enter(c, CONN_IDLE, c->front->idle_ms);
        if (atomic_load(&c->front->draining) && conn_hand_over(c)) {
            return;
        }
    }
    conn_wait(c);
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
    conn_enter(c, CONN_PASSED, 0);
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

static bool is_nothing(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static bool comes_soon(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, FIRST_BYTE_SOON_MS) > 0;
}

/* A web server connects and then sends, and we have been told of the first. What it sends is worth a moment:
 * to wait for it as for any idle connection takes four system calls, and wakes whoever slept. Others who
 * connect and send nothing would have all of a worker's time, a millisecond each. */
static ssize_t receive(const struct fcgi_conn *c, struct fcgi_exchange *x)
{
    static _Thread_local unsigned vain;
    ssize_t n = recv(c->wait.fd, x->input, sizeof(x->input), MSG_DONTWAIT);

    if (c->state != CONN_NEW || c->waited || !is_nothing(n)) {
        return n;
    }
    if (vain > 0) {
        vain--;
    } else if (comes_soon(c->wait.fd)) {
        n = recv(c->wait.fd, x->input, sizeof(x->input), MSG_DONTWAIT);
    } else {
        vain = VAIN;
    }
    return n;
}

void fcgi_serve(struct fcgi_conn *c, struct worker *worker)
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
    ssize_t n = receive(c, x);

    c->wait.dry = n < (ssize_t)sizeof(x->input);
    if (n <= 0) {
        if (is_nothing(n)) {
            conn_wait(c);
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
