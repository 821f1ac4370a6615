/* The FastCGI client. See the header. Loop thread only.
 *
 * A connection has one request at a time, and is kept for the next one if the other side takes that; then any
 * loop event on it means that the other side has closed. A request that may be repeated without harm is sent
 * again, once, when a kept connection turns out to be closed; others never use a kept connection. */
#include "http/upstream.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/upstream_wire.h"

#define CONNECT_US (5 * CLOCK_US_PER_SECOND)
#define IDLE_US    (30 * CLOCK_US_PER_SECOND)
#define IDLE_MAX   32          /* kept connections of a loop and target */
#define HEAD_MAX   (64u << 10) /* of a response */
#define READ_SIZE  (64u << 10)
#define BODY_PIECE (32u << 10)
#define UNSENT_MAX (128u << 10) /* of a response; reply_parts.c never waits below that */

enum upstream_state { UPSTREAM_CONNECTING, UPSTREAM_RUNNING, UPSTREAM_IDLE };

struct upstream {
    struct upstream *prev, *next; /* loop->upstreams */
    struct loop *loop;
    struct upstream_target *target;
    enum upstream_state state;
    int fd;
    struct event event;
    bool readable, writable;
    bool reused; /* has served a request before */
    bool heard;  /* something of the response has come */
    bool body_sent;
    bool paused;        /* the client does not keep up */
    struct exchange *x; /* holds a reference; NULL while idle */
    struct buf out;     /* records that the socket did not take yet, from out_at on */
    size_t out_at;
    struct upstream_records records;
    struct buf head; /* of the response, until it is complete */
    bool head_done;
    int status; /* of END_REQUEST */
    uint64_t deadline_us;
};

static int start(struct exchange *x, bool fresh);
static void progress(struct upstream *u);

/* -- life -- */

static void close_upstream(struct upstream *u)
{
    if (u->prev) {
        u->prev->next = u->next;
    } else {
        u->loop->upstreams = u->next;
    }
    if (u->next) {
        u->next->prev = u->prev;
    }
    event_del(&u->event);
    close(u->fd);
    buf_free(&u->out);
    buf_free(&u->head);
    free(u);
}

/* The exchange goes on without this connection. */
static struct exchange *detach(struct upstream *u)
{
    struct exchange *x = u->x;
    u->x = NULL;
    x->upstream = NULL;
    atomic_fetch_sub_explicit(&u->target->active, 1, memory_order_relaxed);
    return x;
}

/* The answer is over; it is counted when the last reference goes. */
static void let_go(struct exchange *x)
{
    x->request.status = x->reply.status ? x->reply.status : 499; /* 499: the client left */
    x->answered = true;
    exchange_drop(x);
}

static void keep(struct upstream *u)
{
    unsigned idle = 0;
    for (const struct upstream *o = u->loop->upstreams; o; o = o->next) {
        idle += o->state == UPSTREAM_IDLE && o->target == u->target;
    }
    if (!u->target->keep_alive || idle >= IDLE_MAX || !u->body_sent || u->out_at < u->out.n ||
        atomic_load_explicit(&u->loop->front->draining, memory_order_relaxed)) {
        close_upstream(u);
        return;
    }
    buf_free(&u->out);
    buf_free(&u->head);
    u->state = UPSTREAM_IDLE;
    u->reused = true;
    u->deadline_us = u->loop->now_us + IDLE_US;
}

/* May this be sent twice? Only what changes nothing. */
static bool is_repeatable(const struct exchange *x)
{
    const char *method = x->request.method;
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

static void fail(struct upstream *u, int status, const char *why)
{
    struct exchange *x = detach(u);
    bool again = u->reused && !u->heard && status == 502 && is_repeatable(x);
    const char *name = u->target->name;
    close_upstream(u);
    if (again && start(x, true) == 0) {
        exchange_drop(x); /* start() took its own */
        return;
    }
    log_limited(LEVEL_WARNING, "http: %s: %s, a request was answered with %d", name, why, status);
    x->request.io->abandon(&x->request, status, true);
    let_go(x);
}

void upstream_abort(struct exchange *x)
{
    struct upstream *u = x->upstream;
    if (u) {
        detach(u);
        close_upstream(u); /* which is how the other side hears of it */
        x->request.io->abandon(&x->request, 499, true);
        let_go(x);
    }
}

/* -- the request out -- */

/* Variables that are ours to say: ids, so that both processes' logs name the request alike. */
static void add_ids(struct buf *pairs, const struct request *r)
{
    char parent[TRACEPARENT_SIZE];
    if (r->trace.id[0]) {
        request_traceparent(r, parent);
        upstream_wire_param(pairs, STR("HTTP_X_REQUEST_ID"), str_of(r->trace.id));
        upstream_wire_param(pairs, STR("HTTP_TRACEPARENT"), (struct str){parent, TRACEPARENT_SIZE - 1});
    }
}

static bool is_left_out(const struct param *p)
{
    static const char *const names[] = {"HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "PATH_TRANSLATED"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(p->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void write_head(struct upstream *u)
{
    const struct request *r = &u->x->request;
    struct buf pairs = {0};
    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];
        if (!is_left_out(p)) {
            upstream_wire_param(&pairs, (struct str){p->name, p->name_len},
                                (struct str){p->value, p->value_len});
        }
    }
    add_ids(&pairs, r);
    upstream_wire_begin(&u->out, u->target->keep_alive);
    upstream_wire_stream(&u->out, UPSTREAM_PARAMS, pairs.p, pairs.n);
    upstream_wire_stream(&u->out, UPSTREAM_PARAMS, NULL, 0);
    u->out.failed |= pairs.failed;
    buf_free(&pairs);
}

/* The next piece of the body, once the last one has left. 0 or -1. */
static int write_body(struct upstream *u)
{
    char piece[BODY_PIECE];
    ssize_t n = http_body_read(&u->x->body, piece, sizeof piece);
    if (n < 0) {
        return -1;
    }
    u->out.n = u->out_at = 0;
    u->body_sent = n == 0;
    u->x->request.body_read += (uint64_t)n;
    upstream_wire_stream(&u->out, UPSTREAM_STDIN, piece, (size_t)n);
    return u->out.failed ? -1 : 0;
}

/* What the socket takes now. 0, or -1: broken. */
static int send_out(struct upstream *u)
{
    while (u->writable) {
        if (u->out_at == u->out.n && (u->body_sent || write_body(u) != 0)) {
            return u->body_sent ? 0 : -1;
        }
        ssize_t n = send(u->fd, u->out.p + u->out_at, u->out.n - u->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            u->writable = false;
            return 0;
        }
        if (n < 0) {
            return -1;
        }
        u->out_at += (size_t)n;
        u->deadline_us = u->loop->now_us + u->target->wait_us;
    }
    return 0;
}

/* -- the response in -- */

/* 0, or -1: the client is gone, or the head can't be passed on. */
static int take_head(struct upstream *u, struct str data)
{
    struct exchange *x = u->x;
    buf_str(&u->head, data);
    size_t end = u->head.failed ? 0 : upstream_head_end(u->head.p, u->head.n);
    if (end == 0) {
        return u->head.failed || u->head.n > HEAD_MAX ? -1 : 0;
    }
    struct upstream_head head;
    if (!upstream_head_parse(u->head.p, end, &head)) {
        return -1;
    }
    char *line =
        head.reason.p ? arena_printf(x->arena, "HTTP/1.1 %.*s", (int)head.reason.n, head.reason.p) : NULL;
    struct response_head out = {.status = head.status,
                                .status_line = str_of(line),
                                .lines = head.lines,
                                .count = head.count,
                                .no_body = x->head_only};
    u->head_done = true;
    if (x->request.io->send_head(&x->request, &out) != 0) {
        return -1;
    }
    size_t rest = u->head.n - end;
    x->request.body_sent += rest;
    int bad = rest ? x->request.io->write(&x->request, u->head.p + end, rest) : 0;
    buf_free(&u->head);
    return bad;
}

static int take_data(struct upstream *u, struct str data)
{
    if (!u->head_done) {
        return take_head(u, data);
    }
    u->x->request.body_sent += data.n;
    return u->x->request.io->write(&u->x->request, data.p, data.n);
}

static void log_message(const struct upstream *u, struct str text)
{
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) {
        text.n--;
    }
    if (text.n) {
        log_limited(LEVEL_NOTICE, "http: %s said: %.*s", u->target->name, (int)text.n, text.p);
    }
}

static void complete(struct upstream *u)
{
    if (u->status != 0 || !u->head_done) {
        /* 2: overloaded (FastCGI 1.0, 5.5) */
        fail(u, u->status == 2 ? 503 : 502, u->status ? "it refused the request" : "it gave no response");
        return;
    }
    struct exchange *x = detach(u);
    x->request.io->finish(&x->request);
    keep(u);
    let_go(x);
}

/* n bytes; 0, or -1: u is gone. */
static int take_bytes(struct upstream *u, const char *p, size_t n)
{
    while (n > 0) {
        size_t used;
        struct str data = STR_NONE;
        enum upstream_event event = upstream_records_next(&u->records, p, n, &used, &data, &u->status);
        p += used;
        n -= used;
        if (event == UPSTREAM_BAD || (event == UPSTREAM_OUT && take_data(u, data) != 0)) {
            fail(u, 502, event == UPSTREAM_BAD ? "it does not speak FastCGI" : "its response was not usable");
            return -1;
        }
        if (event == UPSTREAM_ERR) {
            log_message(u, data);
        } else if (event == UPSTREAM_OVER) {
            u->records = (struct upstream_records){0};
            complete(u);
            return -1;
        }
    }
    return 0;
}

/* One read; false: nothing more now, or u is gone. */
static bool read_once(struct upstream *u, char *buffer)
{
    ssize_t n = recv(u->fd, buffer, READ_SIZE, 0);
    if (n < 0 && errno == EINTR) {
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        u->readable = false;
        return false;
    }
    if (n <= 0) {
        fail(u, 502, n == 0 ? "it closed the connection" : strerror(errno));
        return false;
    }
    u->heard = true;
    u->deadline_us = u->loop->now_us + u->target->wait_us;
    return take_bytes(u, buffer, (size_t)n) == 0;
}

static void read_in(struct upstream *u)
{
    struct exchange *x = u->x;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed); /* u may end meanwhile */
    char *buffer = malloc(READ_SIZE);
    while (buffer && u->readable) {
        u->paused = atomic_load(&x->queued) > UNSENT_MAX;
        if (u->paused || !read_once(u, buffer)) {
            break;
        }
    }
    if (!buffer) {
        fail(u, 503, "out of memory");
    } else if (x->upstream == u && !u->readable && u->head_done) {
        x->request.io->flush(&x->request); /* it pauses: the client may see what there is */
    }
    free(buffer);
    exchange_drop(x);
}

void upstream_resume(struct exchange *x)
{
    if (x->upstream && x->upstream->paused) {
        x->upstream->paused = false;
        x->upstream->deadline_us = x->loop->now_us + x->upstream->target->wait_us;
        event_active(&x->upstream->event, EV_TIMEOUT, 0); /* after whoever is sending now */
    }
}

/* -- events -- */

/* Moves on as far as it goes. u may be gone afterwards. */
static void progress(struct upstream *u)
{
    if (u->state == UPSTREAM_CONNECTING && u->writable) {
        int error = 0;
        socklen_t n = sizeof error;
        if (getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error) {
            fail(u, 502, strerror(error ? error : errno));
            return;
        }
        u->state = UPSTREAM_RUNNING;
        u->deadline_us = u->loop->now_us + u->target->wait_us;
    }
    if (u->state != UPSTREAM_RUNNING) {
        return;
    }
    /* A server may answer without reading the whole body: what it said counts, not that it stopped. */
    if (send_out(u) != 0) {
        u->writable = false;
        if (!u->readable) {
            fail(u, 502, "it closed the connection");
            return;
        }
    }
    if (u->readable) {
        read_in(u);
    }
}

static void on_event(evutil_socket_t fd, short what, void *ctx)
{
    struct upstream *u = ctx;
    (void)fd;
    u->loop->now_us = clock_coarse_us();
    u->readable |= (what & (EV_READ | EV_CLOSED)) != 0;
    u->writable |= (what & EV_WRITE) != 0;
    if (u->state == UPSTREAM_IDLE) {
        if (what & (EV_READ | EV_CLOSED)) {
            close_upstream(u);
        }
        return;
    }
    progress(u);
}

static bool streams_too_long(const struct upstream *u)
{
    uint64_t limit = (uint64_t)u->loop->front->settings->stream_timeout * CLOCK_US_PER_SECOND;
    uint64_t since = u->x ? u->x->reply.stream_since_us : 0;
    return limit && since && u->loop->now_us > since && u->loop->now_us - since > limit;
}

static void sweep(struct upstream *u)
{
    if (u->state == UPSTREAM_IDLE) {
        if (u->loop->now_us >= u->deadline_us) {
            close_upstream(u);
        }
    } else if (streams_too_long(u)) {
        fail(u, 504, "its response streamed for too long");
    } else if (!u->paused && u->loop->now_us >= u->deadline_us) {
        atomic_fetch_add_explicit(&u->loop->front->timeouts, 1, memory_order_relaxed);
        fail(u, 504, u->state == UPSTREAM_CONNECTING ? "no connection in time" : "no response in time");
    }
}

void upstream_sweep(struct loop *loop)
{
    for (struct upstream *u = loop->upstreams, *next; u; u = next) {
        next = u->next;
        sweep(u); /* ends at most u itself; a new one is put in front */
    }
}

void upstream_close_all(struct loop *loop)
{
    while (loop->upstreams) {
        struct upstream *u = loop->upstreams;
        if (u->x) {
            upstream_abort(u->x);
        } else {
            close_upstream(u);
        }
    }
}

/* -- the beginning -- */

static struct upstream *find_idle(struct loop *loop, const struct upstream_target *target)
{
    for (struct upstream *u = loop->upstreams; u; u = u->next) {
        if (u->state == UPSTREAM_IDLE && u->target == target) {
            return u;
        }
    }
    return NULL;
}

static struct upstream *connect_to(struct loop *loop, struct upstream_target *target)
{
    struct upstream *u = calloc(1, sizeof *u);
    int fd = socket(target->address.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool bad = !u || fd < 0;
    if (!bad && connect(fd, (const struct sockaddr *)&target->address.sa, target->address.len) != 0) {
        bad = errno != EINPROGRESS;
    }
    if (!bad) {
        *u = (struct upstream){.loop = loop, .target = target, .fd = fd, .state = UPSTREAM_CONNECTING};
        event_assign(&u->event, loop->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event,
                     u);
        bad = event_add(&u->event, NULL) != 0;
    }
    if (bad) {
        int saved = errno;
        log_limited(LEVEL_WARNING, "http: cannot connect to %s: %s", target->name, strerror(saved));
        if (fd >= 0) {
            close(fd);
        }
        free(u);
        errno = saved;
        return NULL;
    }
    u->next = loop->upstreams;
    if (u->next) {
        u->next->prev = u;
    }
    loop->upstreams = u;
    u->deadline_us = loop->now_us + CONNECT_US;
    return u;
}

/* 0, or the status to answer. fresh: not on a kept connection. */
static int start(struct exchange *x, bool fresh)
{
    struct upstream_target *target = x->target;
    struct upstream *u = fresh || !is_repeatable(x) ? NULL : find_idle(x->loop, target);
    if (u) {
        u->state = UPSTREAM_RUNNING;
        u->deadline_us = x->loop->now_us + target->wait_us;
    } else {
        u = connect_to(x->loop, target);
    }
    if (!u) {
        return errno == EAGAIN ? 503 : 502; /* EAGAIN: its backlog is full */
    }
    x->body.read = 0;
    u->heard = u->body_sent = u->head_done = u->paused = false;
    u->readable = false;
    u->out_at = 0;
    u->x = x;
    x->upstream = u;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&target->active, 1, memory_order_relaxed);
    write_head(u);
    if (u->out.failed) {
        detach(u);
        close_upstream(u);
        exchange_drop(x);
        return 503;
    }
    if (u->state == UPSTREAM_RUNNING) {
        event_active(&u->event, EV_WRITE, 0); /* not here: the caller is not ready for an answer yet */
    }
    return 0;
}

int upstream_submit(struct exchange *x)
{
    struct upstream_target *target = x->target;
    if (atomic_load_explicit(&target->active, memory_order_relaxed) >= target->capacity) {
        log_limited(LEVEL_WARNING, "http: %s has %lld requests already, one was answered with 503",
                    target->name, (long long)target->capacity);
        return 503;
    }
    return start(x, false);
}
