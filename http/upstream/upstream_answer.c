/* The answer of the other process. See upstream_private.h.
 *
 * A pause of PAUSE_MS shows the client what there is, as a flush does: FastCGI has no word for a script's
 * flush(). Shorter ones are only the other side's way of cutting its output. Event streams wait for nothing
 * (reply.c). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/answer/relay.h"
#include "http/upstream/upstream_private.h"

#define HEAD_MAX     (2 * WIRE_HEAD_MAX) /* a smaller one that is too large is refused as a script's own */
#define INTERIMS_MAX 16                  /* interim heads that are passed on; others are dropped */
#define READ_SIZE    (64u << 10)
#define TURN_READS   16 /* before others have their turn */
#define PAUSE_MS     5

_Static_assert(READ_SIZE <= LOOP_SCRATCH, "it is read into loop->scratch");

void upstream_answer_begin(struct upstream *u)
{
    u->heard = u->head_done = u->unflushed = u->paused = u->excess = u->readable = false;
    u->interims = 0;
    u->records = (struct upstream_records){0};
}

/* -- the head -- */

/* A complete head of n bytes, interim or not. 0, or -1: the client is gone, or it can't be passed on. */
static int pass_head(struct upstream *u, const char *p, size_t n)
{
    struct exchange *x = u->x;
    struct upstream_head head;
    if (!upstream_head_parse(p, n, u->target->ours, &head)) {
        return -1;
    }
    struct response_head out = {.status = head.status, .lines = head.lines, .count = head.count};
    if (head.status < 200) {
        return u->interims++ < INTERIMS_MAX ? x->request.io->send_interim(&x->request, &out) : 0;
    }
    char *line =
        head.reason.p ? arena_printf(x->arena, "HTTP/1.1 %.*s", (int)head.reason.n, head.reason.p) : NULL;
    out.status_line = str_of(line);
    out.no_body = x->http.head_only;
    u->head_done = true;
    u->head_us = u->loop->now_us;
    return x->request.io->send_head(&x->request, &out);
}

static int pass_body(struct upstream *u, const char *p, size_t n)
{
    u->x->request.body_sent += u->x->request.head_counts ? 0 : n;
    u->unflushed = true;
    return n ? relay_write(u->x, p, n) : 0;
}

static int take_head(struct upstream *u, struct str data)
{
    size_t at = 0, end;
    buf_str(&u->head, data);
    if (u->head.failed) {
        return -1;
    }
    while (!u->head_done && (end = upstream_head_end(u->head.p + at, u->head.n - at)) > 0) {
        if (pass_head(u, u->head.p + at, end) != 0) {
            return -1;
        }
        at += end;
    }
    if (!u->head_done) {
        u->head.n -= at;
        memmove(u->head.p, u->head.p + at, u->head.n);
        return u->head.n > HEAD_MAX ? -1 : 0;
    }
    int bad = pass_body(u, u->head.p + at, u->head.n - at);
    buf_free(&u->head);
    return bad;
}

/* -- records -- */

static void log_message(const struct upstream *u, struct str text)
{
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) {
        text.n--;
    }
    if (text.n) {
        log_limited(LEVEL_NOTICE, "http: %s said: %.*s", u->target->name, (int)text.n, text.p);
    }
}

static enum upstream_heard take_bytes(struct upstream *u, const char *p, size_t n, const char **why)
{
    while (n > 0) {
        size_t used;
        struct str data = STR_NONE;
        int bad = 0;
        enum upstream_event event = upstream_records_next(&u->records, p, n, &used, &data, &u->status);
        p += used;
        n -= used;
        switch (event) {
        case UPSTREAM_MORE: break;
        case UPSTREAM_OUT: bad = u->head_done ? pass_body(u, data.p, data.n) : take_head(u, data); break;
        case UPSTREAM_ERR: log_message(u, data); break;
        case UPSTREAM_USED:
            if (u->target->ours) {
                u->x->request.usage = upstream_usage_parse(data);
            }
            break;
        case UPSTREAM_OVER: u->excess = n > 0; return HEARD_END;
        case UPSTREAM_BAD: *why = "it does not speak FastCGI"; return HEARD_BAD;
        }
        if (bad) {
            *why = "its response was not usable";
            return HEARD_BAD;
        }
    }
    return HEARD_PART;
}

/* One read; false: nothing more now, or *heard is not HEARD_PART. */
static bool read_once(struct upstream *u, enum upstream_heard *heard, const char **why)
{
    ssize_t n = recv(u->fd, u->loop->scratch, READ_SIZE, 0);
    if (n < 0 && errno == EINTR) {
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        u->readable = false;
        return false;
    }
    if (n <= 0) {
        *why = n == 0 ? "it closed the connection" : strerror(errno);
        *heard = HEARD_BAD;
        return false;
    }
    u->heard = true;
    u->deadline_us = u->loop->now_us + u->target->wait_us;
    *heard = take_bytes(u, u->loop->scratch, (size_t)n, why);
    return *heard == HEARD_PART;
}

enum upstream_heard upstream_answer_read(struct upstream *u, const char **why)
{
    enum upstream_heard heard = HEARD_PART;
    for (unsigned turns = 0; u->readable; turns++) {
        u->paused = relay_full(u->x);
        if (u->paused) {
            break;
        }
        if (turns == TURN_READS) {
            event_active(&u->event, EV_TIMEOUT, 0);
            break;
        }
        if (!read_once(u, &heard, why)) {
            break;
        }
    }
    if (heard == HEARD_PART && u->unflushed && !u->readable && !event_pending(&u->pause, EV_TIMEOUT, NULL)) {
        struct timeval pause = {0, PAUSE_MS * 1000};
        event_add(&u->pause, &pause);
    }
    return heard;
}
