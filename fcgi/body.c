/* Reading STDIN: see body.h. A small reader of records; what belongs to no body is answered (GET_VALUES, a
 * second BEGIN_REQUEST) or skipped. Waits are poll() with a limit on a descriptor that is read without
 * blocking, so that a signal or a stalled peer cannot hold the worker. */
#include <errno.h>
#include <fastcgi.h>
#include <poll.h>
#include <string.h>

#include "engine/base/clock.h"
#include "fcgi/exchange.h"
#include "fcgi/record.h"

/* From here on it is worth reading past our own buffer. */
#define BODY_DIRECT_BYTES 4096

/* A web server sends the end with the head, or right behind it. */
#define LATE_PIECES 8
#define LATE_MS     20

void body_begin(struct fcgi_body *body)
{
    *body = (struct fcgi_body){.end = BODY_OPEN};
}

/* True once something can be read (also the end of it). */
static bool wait_readable(int fd)
{
    uint64_t until = clock_us() + FCGI_BODY_WAIT_MS * 1000ULL;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (;;) {
        uint64_t now = clock_us();
        int n = now < until ? poll(&p, 1, (int)((until - now) / 1000) + 1) : 0;

        if (n > 0) {
            return true;
        }
        if (n == 0 || errno != EINTR) {
            return false;
        }
    }
}

/* Up to n bytes from the connection; 0 = nothing now (only without wait), -1 = broken. */
static ssize_t receive(struct fcgi_exchange *x, void *buf, size_t n, bool wait)
{
    struct fcgi_conn *c = x->conn;
    int fd = c->wait.fd;

    if (c->waited && !x->muted && x->body.end == BODY_OPEN) { /* each piece would wake an idle worker */
        pool_wait_mute(c->front->pool, &c->wait);
        x->muted = true;
    }
    for (;;) {
        ssize_t got = recv(fd, buf, n, MSG_DONTWAIT);

        if (got > 0) {
            c->wait.dry = (size_t)got < n;
            return got;
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
            break;
        }
        if (!wait) {
            return 0;
        }
        if (!wait_readable(fd)) {
            break;
        }
    }
    x->body.end = BODY_BROKEN;
    return -1;
}

static size_t buffered(const struct fcgi_exchange *x)
{
    return x->input_n - x->input_at;
}

/* At least one byte in x->input. 1, 0 = nothing now, -1 = broken. */
static int fill(struct fcgi_exchange *x, bool wait)
{
    if (buffered(x)) {
        return 1;
    }
    ssize_t got = receive(x, x->input, sizeof(x->input), wait);

    if (got > 0) {
        x->input_at = 0;
        x->input_n = (size_t)got;
    }
    return got > 0 ? 1 : (int)got;
}

/* A record that is no STDIN of ours. */
static void other_record(struct fcgi_exchange *x, uint8_t type, uint16_t id)
{
    struct fcgi_body *b = &x->body;
    int fd = x->conn->wait.fd;
    bool sent = true;

    if (!id && type == FCGI_WIRE_GET_VALUES) {
        sent = record_send_values(fd, true);
    } else if (!id && (type == 0 || type > FCGI_WIRE_GET_VALUES)) {
        sent = record_send_unknown_type(fd, type);
    } else if (id == x->out.id && type == FCGI_WIRE_ABORT_REQUEST) {
        b->end = BODY_ABORTED;
        x->aborted = true;
    } else if (type == FCGI_WIRE_BEGIN_REQUEST) {
        b->end = id == x->out.id ? BODY_BROKEN : b->end;
        sent = record_send_end(fd, id, FCGI_CANT_MPX_CONN);
    } else if (id == x->out.id && type != FCGI_WIRE_PARAMS && type != FCGI_WIRE_DATA) {
        b->end = BODY_BROKEN;
    }
    if (!sent) {
        b->end = BODY_BROKEN;
    }
}

static void header_complete(struct fcgi_exchange *x)
{
    struct fcgi_body *b = &x->body;
    const struct fcgi_wire_header *h = &b->reader.header;

    if (h->version != FCGI_WIRE_VERSION) {
        b->end = BODY_BROKEN;
        return;
    }
    b->ours = h->type == FCGI_WIRE_STDIN && h->id == x->out.id;
    if (!b->ours) {
        other_record(x, h->type, h->id);
    } else if (!h->content) {
        b->end = BODY_WHOLE;
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Some content of ours into buf; its length, 0 = nothing now, -1 = broken. */
static ssize_t take_content(struct fcgi_exchange *x, char *buf, size_t n, bool wait)
{
    size_t want = smaller(n, x->body.reader.content_left);
    ssize_t got;

    if (!buffered(x) && want >= BODY_DIRECT_BYTES) {
        got = receive(x, buf, want, wait);
    } else {
        got = fill(x, wait);
        if (got > 0) {
            got = (ssize_t)smaller(want, buffered(x));
            memcpy(buf, x->input + x->input_at, (size_t)got);
            x->input_at += (size_t)got;
        }
    }
    if (got > 0) {
        x->body.reader.content_left -= (uint32_t)got;
    }
    return got;
}

/* One step outside of our content: a piece of a header, of padding, of a foreign record. 1, 0 = nothing now,
 * -1 = broken. */
static int step(struct fcgi_exchange *x, bool wait)
{
    const unsigned char *at = x->input + x->input_at;
    size_t n = buffered(x);
    struct str content;
    enum fcgi_wire_step step = fcgi_wire_read(&x->body.reader, &at, &n, &content);

    x->input_at = x->input_n - n;
    if (step == FCGI_WIRE_HEADER) {
        header_complete(x);
    }
    return step == FCGI_WIRE_MORE ? fill(x, wait) : 1;
}

ssize_t body_read(struct fcgi_exchange *x, char *buf, size_t n)
{
    struct fcgi_body *b = &x->body;
    size_t got = 0;

    while (got < n && b->end == BODY_OPEN) {
        if (b->ours && b->reader.content_left) {
            ssize_t piece = take_content(x, buf + got, n - got, true);

            got += piece > 0 ? (size_t)piece : 0;
        } else {
            step(x, true);
        }
    }
    /* A body that broke off gives what came of it first; the next call says that it broke. */
    return got || b->end == BODY_OPEN || b->end == BODY_WHOLE ? (ssize_t)got : -1;
}

enum body_end body_skip(struct fcgi_exchange *x)
{
    struct fcgi_body *b = &x->body;
    int budget = 1024; /* steps, four a record: a peer that never stops is not waited for */

    while (b->end == BODY_OPEN && budget) {
        if (step(x, false) <= 0) {
            break;
        }
        budget--;
    }
    /* The end record's own padding. */
    while (b->end == BODY_WHOLE && b->reader.padding_left && step(x, false) > 0) {
    }
    return b->end == BODY_WHOLE && b->reader.padding_left ? BODY_OPEN : b->end;
}

/* Nothing but the record that ends it can be missing, or nobody has said how much there is. */
static bool lacks_only_its_end(const struct fcgi_exchange *x)
{
    const struct fcgi_body *b = &x->body;
    const struct request *r = &x->request;

    return b->end == BODY_OPEN && !(b->ours && b->reader.content_left) &&
           (r->content_length < 0 || r->body_read >= (uint64_t)r->content_length);
}

enum body_end body_skip_late_end(struct fcgi_exchange *x)
{
    enum body_end end = body_skip(x);
    struct pollfd p = {.fd = x->conn->wait.fd, .events = POLLIN};

    for (int i = 0; i < LATE_PIECES && lacks_only_its_end(x) && poll(&p, 1, LATE_MS) > 0; i++) {
        end = body_skip(x);
    }
    return end;
}

bool body_visibly_empty(const struct fcgi_exchange *x)
{
    if (buffered(x) < FCGI_WIRE_HEADER_SIZE) {
        return false;
    }
    const struct fcgi_wire_header h = fcgi_wire_get(x->input + x->input_at);

    return h.version == FCGI_WIRE_VERSION && h.type == FCGI_WIRE_STDIN && h.content == 0 && h.id == x->out.id;
}

/* Steps over the end of a body that was read to its end, or is none: an ABORT_REQUEST can only lie behind it.
 */
static void pass_end(struct fcgi_exchange *x)
{
    struct fcgi_body *b = &x->body;
    bool between = !b->reader.content_left && !b->reader.padding_left && !b->reader.have;

    if (b->end == BODY_OPEN && between && fill(x, false) > 0) {
        while (b->end == BODY_OPEN && body_visibly_empty(x)) {
            step(x, false);
        }
    }
    if (b->end == BODY_WHOLE && b->reader.padding_left) {
        step(x, false);
    }
}

bool body_peer_left(struct fcgi_exchange *x)
{
    unsigned char h[FCGI_WIRE_HEADER_SIZE];
    struct pollfd p = {.fd = x->conn->wait.fd};
    const unsigned char *at;
    ssize_t n;

    pass_end(x);
    at = x->input + x->input_at;
    n = (ssize_t)buffered(x);
    if (x->body.end != BODY_WHOLE || x->body.reader.padding_left) {
        return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
    }
    if (!n) {
        n = recv(p.fd, h, sizeof(h), MSG_PEEK | MSG_DONTWAIT);
        at = h;
    }
    if (n < 0) {
        return errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    }
    if (n == 0) { /* it will send nothing more; does it still read? */
        return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
    }
    if (n >= FCGI_WIRE_HEADER_SIZE) {
        const struct fcgi_wire_header next = fcgi_wire_get(at);

        x->aborted |= next.type == FCGI_WIRE_ABORT_REQUEST && next.id == x->out.id;
    }
    return x->aborted;
}
