/* A script's answer on its way to the client: the worker's side. Worker threads; the control thread in a lost
 * worker's place.
 *
 * Head and body are held back until the response is complete (then it leaves in one piece with its length),
 * or is flushed or has outgrown HOLD_MAX (then it streams). Where the worker has the connection's descriptor
 * (plain HTTP/1.1) it writes itself, straight from PHP's memory; otherwise bytes go to the loop as messages,
 * of which at most QUEUE_HIGH bytes wait unsent. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/account.h"
#include "http/error_pages.h"
#include "http/exchange.h"
#include "http/reply_message.h"
#include "http/wire.h"

#define HOLD_MAX   (64u << 10)
#define QUEUE_HIGH (256u << 10)

/* What leaves in one call. */
struct parts {
    struct iovec v[8];
    int count;
    size_t n;
};

static void add_part(struct parts *parts, const char *p, size_t n)
{
    if (n > 0) {
        parts->v[parts->count++] = (struct iovec){(void *)(uintptr_t)p, n};
        parts->n += n;
    }
}

static struct exchange *exchange_of(struct request *r)
{
    struct exchange *x = r->front;
    MUST(x->magic == EXCHANGE_MAGIC);
    return x;
}

static const struct http_settings *settings_of(const struct exchange *x)
{
    return x->loop->front->settings;
}

static bool is_gone(const struct exchange *x)
{
    return atomic_load_explicit(&x->gone, memory_order_relaxed) ||
           atomic_load_explicit(&x->ended, memory_order_relaxed);
}

/* -- bytes out -- */

/* A worker that a slow reader holds up waits for it this long; a stream as a whole has its own limit. */
static int64_t wait_budget_ms(const struct exchange *x)
{
    const struct http_settings *settings = settings_of(x);
    int64_t budget = settings->write_timeout * 1000;
    if (x->reply.stream_since_us && settings->stream_timeout) {
        int64_t spent = (int64_t)((clock_coarse_us() - x->reply.stream_since_us) / 1000);
        int64_t left = settings->stream_timeout * 1000 - spent;
        budget = left < budget ? left : budget;
    }
    return budget < 0 ? 0 : budget > INT_MAX ? INT_MAX : budget;
}

static void skip_sent(struct parts *parts, size_t n)
{
    parts->n -= n;
    int i = 0;
    while (i < parts->count && n >= parts->v[i].iov_len) {
        n -= parts->v[i++].iov_len;
    }
    memmove(parts->v, parts->v + i, (size_t)(parts->count - i) * sizeof parts->v[0]);
    parts->count -= i;
    if (n > 0) {
        parts->v[0].iov_base = (char *)parts->v[0].iov_base + n;
        parts->v[0].iov_len -= n;
    }
}

/* Writes what the socket takes now. 0, or -1: gone. */
static int write_now(struct exchange *x, struct parts *parts)
{
    while (parts->n > 0) {
        struct msghdr message = {.msg_iov = parts->v, .msg_iovlen = (size_t)parts->count};
        ssize_t done = sendmsg(x->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        }
        skip_sent(parts, (size_t)done);
    }
    return 0;
}

static int write_all(struct exchange *x, struct parts *parts)
{
    while (!is_gone(x)) {
        if (write_now(x, parts) != 0) {
            return -1;
        }
        if (parts->n == 0) {
            return 0;
        }
        struct pollfd p = {.fd = x->fd, .events = POLLOUT};
        int ready = poll(&p, 1, (int)wait_budget_ms(x));
        if (ready == 0) {
            log_limited(LEVEL_NOTICE, "http: %s read too slowly, its response was cut", x->client.ip);
            return -1;
        }
    }
    return -1;
}

/* Sleeps until the loop has sent enough of what is queued. 0, or -1: gone or too slow. */
static int wait_for_room(struct exchange *x)
{
    int64_t budget = wait_budget_ms(x);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += budget / 1000;
    until.tv_nsec += budget % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (!is_gone(x) && atomic_load(&x->queued) > QUEUE_HIGH) {
        atomic_store(&x->waiting, true);
        if (is_gone(x) || atomic_load(&x->queued) <= QUEUE_HIGH) {
            break;
        }
        if (sem_timedwait(&x->space, &until) != 0 && errno == ETIMEDOUT) {
            log_limited(LEVEL_NOTICE, "http: %s read too slowly, its response was cut", x->client.ip);
            return -1;
        }
    }
    return is_gone(x) ? -1 : 0;
}

/* Hands the parts to the loop. status: 0 = body or HTTP/1 bytes, else they are head lines (h2). */
static int post(struct exchange *x, const struct parts *parts, int status)
{
    struct reply_message *m = reply_message_create(x, parts->n, status);
    if (!m) {
        return -1;
    }
    size_t at = 0;
    for (int i = 0; i < parts->count; i++) {
        memcpy(m->text + at, parts->v[i].iov_base, parts->v[i].iov_len);
        at += parts->v[i].iov_len;
    }
    loop_post(x->loop, &m->message);
    return 0;
}

/* Large parts go in pieces, so that what waits in memory stays bounded. */
static int post_bounded(struct exchange *x, struct parts *parts)
{
    while (parts->n > QUEUE_HIGH) {
        struct parts piece = {0};
        size_t room = QUEUE_HIGH;
        for (int i = 0; i < parts->count && room > 0; i++) {
            size_t take = parts->v[i].iov_len < room ? parts->v[i].iov_len : room;
            add_part(&piece, parts->v[i].iov_base, take);
            room -= take;
        }
        if (wait_for_room(x) != 0 || post(x, &piece, 0) != 0) {
            return -1;
        }
        skip_sent(parts, piece.n);
    }
    return wait_for_room(x) != 0 ? -1 : parts->n ? post(x, parts, 0) : 0;
}

static int put(struct exchange *x, struct parts *parts)
{
    return x->fd >= 0 ? write_all(x, parts) : post_bounded(x, parts);
}

/* -- the head -- */

static bool name_is(const struct header_line *line, struct str name)
{
    return line->name_len == name.n && str_ieq((struct str){line->text, name.n}, name);
}

static struct str line_value(const struct header_line *line)
{
    size_t at = line->name_len + 1u;
    return at >= line->len ? (struct str){"", 0} : str_trim((struct str){line->text + at, line->len - at});
}

static struct str keep(struct exchange *x, struct str s)
{
    const char *copy = arena_dup(x->arena, s.n ? s.p : "", s.n);
    return copy ? (struct str){copy, s.n} : STR_NONE;
}

/* Fields that are between two hops, or that we set ourselves. */
static bool is_ours(const struct header_line *line)
{
    static const struct str names[] = {
        {"Connection", 10}, {"Keep-Alive", 10}, {"Proxy-Connection", 16}, {"Transfer-Encoding", 17},
        {"Upgrade", 7},     {"TE", 2},          {"Trailer", 7},           {"Status", 6},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (name_is(line, names[i])) {
            return true;
        }
    }
    return false;
}

static bool has_word(struct str text, struct str word)
{
    struct str piece;
    while (str_split(&text, ',', &piece)) {
        if (str_ieq(str_trim(piece), word)) {
            return true;
        }
    }
    return false;
}

/* Notes what the response's framing depends on. False: the line is not passed on as it is. */
static bool note_line(struct exchange *x, const struct header_line *line)
{
    struct reply *reply = &x->reply;
    struct str value = line_value(line);
    uint64_t length;
    switch (line->text[0] | 0x20) {
    case 'c':
        if (name_is(line, STR("Content-Length"))) {
            if (str_to_u64(value, &length) && length < INT64_MAX) {
                reply->length = (int64_t)length;
            }
            return false;
        }
        if (name_is(line, STR("Content-Type"))) {
            reply->type = keep(x, value);
            reply->streaming |= str_starts(reply->type, STR("text/event-stream"));
        } else if (name_is(line, STR("Content-Encoding"))) {
            reply->has_coding = true;
        } else if (name_is(line, STR("Cache-Control"))) {
            reply->no_transform |= has_word(value, STR("no-transform"));
        }
        break;
    case 'd': reply->has_date |= name_is(line, STR("Date")); break;
    case 'e':
        if (name_is(line, STR("ETag"))) {
            reply->etag = keep(x, value);
            return false;
        }
        break;
    case 't': reply->has_traceparent |= name_is(line, STR("traceparent")); break;
    case 's': reply->has_server |= name_is(line, STR("Server")); break;
    case 'v':
        reply->has_vary |= name_is(line, STR("Vary")) &&
                           (has_word(value, STR("Accept-Encoding")) || has_word(value, STR("*")));
        break;
    case 'x':
        reply->has_request_id |= name_is(line, STR("X-Request-ID"));
        if (name_is(line, STR("X-Accel-Buffering"))) {
            reply->streaming |= str_ieq(value, STR("no"));
            return false;
        }
        break;
    default: break;
    }
    return true;
}

/* X-Accel-Redirect names a path below http.sendfile_root, X-Sendfile a file there. True: it was one. */
static bool note_file(struct exchange *x, const struct header_line *line)
{
    bool accel = name_is(line, STR("X-Accel-Redirect"));
    const char *root = settings_of(x)->sendfile_root;
    if (!root || (!accel && !name_is(line, STR("X-Sendfile")))) {
        return false;
    }
    struct str path = keep(x, line_value(line));
    x->reply.file = ""; /* not found, unless the rest holds */
    if (!path.p) {
        return true;
    }
    bool absolute = !accel && path.p[0] == '/';
    char *full = absolute ? (char *)(uintptr_t)path.p : arena_printf(x->arena, "%s/%s", root, path.p);
    char *real = full ? realpath(full, NULL) : NULL;
    char *real_root = realpath(root, NULL);
    if (real && real_root) {
        size_t n = strlen(real_root);
        if (strncmp(real, real_root, n) == 0 && (real[n] == '/' || (n == 1 && real[1]))) {
            const char *copy = arena_dup(x->arena, real, strlen(real));
            x->reply.file = copy ? copy : "";
        }
    }
    free(real);
    free(real_root);
    return true;
}

static int reply_send_head(struct request *r, const struct response_head *head)
{
    struct exchange *x = exchange_of(r);
    struct reply *reply = &x->reply;
    if (is_gone(x)) {
        return -1;
    }
    reply->status = head->status >= 200 && head->status <= 999 ? head->status : 500;
    reply->status_line = head->status_line.p ? keep(x, head->status_line) : STR_NONE;
    reply->no_body = head->no_body || x->head_only || !wire_has_body(reply->status);
    const struct security_headers *security = &x->loop->front->security;
    reply->security = security_headers_all(security, x->client.https);
    for (size_t i = 0; i < head->count; i++) {
        const struct header_line *line = &head->lines[i];
        if (reply->security) {
            reply->security &= ~security_headers_seen(security, (struct str){line->text, line->name_len});
        }
        if (line->len == 0 || is_ours(line) || note_file(x, line) || !note_line(x, line)) {
            continue;
        }
        buf_add(&x->lines, line->text, line->len);
        buf_str(&x->lines, STR("\r\n"));
    }
    reply->state = REPLY_HELD;
    return x->lines.failed ? -1 : 0;
}

static void choose_coding(struct exchange *x, int64_t size)
{
    struct reply *reply = &x->reply;
    const struct http_settings *settings = settings_of(x);
    if (!settings->compression || reply->has_coding || reply->no_transform || !wire_has_body(reply->status) ||
        reply->status == 206 || !reply->type.p || !compress_wanted(settings, reply->type, size)) {
        return;
    }
    if (!reply->has_vary) {
        buf_str(&x->lines, STR("Vary: Accept-Encoding\r\n"));
    }
    if (x->coding == CODING_IDENTITY || reply->no_body) {
        return;
    }
    int64_t level = x->coding == CODING_GZIP     ? settings->gzip_level
                    : x->coding == CODING_BROTLI ? settings->brotli_level
                                                 : settings->zstd_level;
    reply->compressor = compressor_create(x->coding, (int)level);
    if (reply->compressor) {
        buf_printf(&x->lines, "Content-Encoding: %s\r\n", compress_name(x->coding));
        reply->length = -1;
    }
}

static void add_etag(struct exchange *x)
{
    struct str etag = x->reply.etag;
    if (etag.p) {
        /* The compressed bytes are another representation: only a weak comparison may call them equal. */
        bool weaken = x->reply.compressor && !str_starts(etag, STR("W/"));
        buf_printf(&x->lines, "ETag: %s%.*s\r\n", weaken ? "W/" : "", (int)etag.n, etag.p);
    }
}

static void add_common(struct exchange *x)
{
    if (!x->reply.has_date) {
        buf_str(&x->lines, wire_date());
    }
    if (!x->reply.has_server) {
        buf_str(&x->lines, wire_server);
    }
    add_etag(x);
    account_lines(x, &x->lines);
    const struct security_headers *security = &x->loop->front->security;
    for (size_t i = 0; x->reply.security && i < security->count; i++) {
        if (x->reply.security & 1u << i) {
            buf_str(&x->lines, security->fields[i].name);
            buf_str(&x->lines, STR(": "));
            buf_str(&x->lines, security->fields[i].value);
            buf_str(&x->lines, STR("\r\n"));
        }
    }
}

/* Everything in x->lines that depends on the body: its length (-1: unknown) and whether the connection
 * lives. */
static void add_framing(struct exchange *x, int64_t length)
{
    struct reply *reply = &x->reply;
    if (length >= 0 && wire_has_body(reply->status)) {
        buf_printf(&x->lines, "Content-Length: %lld\r\n", (long long)length);
    }
    if (x->h2) {
        return;
    }
    bool http10 = x->request.proto < 1001;
    bool delimited = length >= 0 || reply->no_body;
    if (!delimited && !http10) {
        reply->chunked = true;
        buf_str(&x->lines, STR("Transfer-Encoding: chunked\r\n"));
    }
    reply->close = !x->keep_alive || (!delimited && http10) ||
                   atomic_load_explicit(&x->loop->front->draining, memory_order_relaxed);
    if (reply->close) {
        buf_str(&x->lines, STR("Connection: close\r\n"));
    } else if (http10) {
        buf_str(&x->lines, STR("Connection: keep-alive\r\n"));
    }
}

/* Puts the head in front of the parts (h2: sends it). top is the caller's, for the status line. */
static int head_parts(struct exchange *x, int64_t length, struct parts *parts, struct buf *top)
{
    add_common(x);
    add_framing(x, length);
    if (x->lines.failed) {
        return -1;
    }
    if (x->h2) {
        struct parts head = {0};
        add_part(&head, x->lines.p ? x->lines.p : "", x->lines.n);
        return post(x, &head, x->reply.status);
    }
    buf_str(&x->lines, STR("\r\n"));
    wire_status(top, x->reply.status, x->reply.status_line);
    if (x->lines.failed || top->failed) {
        return -1;
    }
    add_part(parts, top->p, top->n);
    add_part(parts, x->lines.p, x->lines.n);
    return 0;
}

/* -- the body -- */

/* What a piece of the body becomes on the wire: compressed, and never more than was announced. */
static int encode(struct exchange *x, const char **p, size_t *n, enum compress_mode mode)
{
    struct reply *reply = &x->reply;
    if (reply->no_body) {
        *n = 0;
        return 0;
    }
    if (reply->compressor) {
        x->packed.n = 0;
        int bad = compressor_run(reply->compressor, *p, *n, mode, &x->packed);
        *p = x->packed.p;
        *n = x->packed.n;
        return bad || x->packed.failed ? -1 : 0;
    }
    if (reply->length >= 0 && *n > (uint64_t)reply->length - reply->sent) {
        *n = (size_t)((uint64_t)reply->length - reply->sent);
    }
    reply->sent += *n;
    return 0;
}

static int put_body(struct exchange *x, struct parts *parts, const char *p, size_t n, enum compress_mode mode)
{
    char size[24];
    if (encode(x, &p, &n, mode) != 0) {
        return -1;
    }
    if (n > 0 && x->reply.chunked) {
        add_part(parts, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    }
    add_part(parts, p, n);
    if (n > 0 && x->reply.chunked) {
        add_part(parts, "\r\n", 2);
    }
    return parts->n ? put(x, parts) : 0;
}

/* The head leaves, and what was held back with it: from here on the response streams. */
static int begin_stream(struct exchange *x, const char *p, size_t n)
{
    struct parts parts = {0};
    struct buf top = {0};
    x->reply.stream_since_us = clock_coarse_us();
    choose_coding(x, x->reply.length);
    int bad = head_parts(x, x->reply.length, &parts, &top);
    x->reply.state = REPLY_STREAM;
    if (!bad && x->held.n) {
        bad = put_body(x, &parts, x->held.p, x->held.n, n ? COMPRESS_MORE : COMPRESS_FLUSH);
        parts = (struct parts){0};
        x->held.n = 0;
    }
    if (!bad && (n || parts.n)) {
        bad = put_body(x, &parts, p, n, x->reply.streaming || !n ? COMPRESS_FLUSH : COMPRESS_MORE);
    }
    buf_free(&top);
    return bad;
}

static int failed(struct exchange *x)
{
    x->reply.cut = true;
    return -1;
}

static int reply_write(struct request *r, const char *p, size_t n)
{
    struct exchange *x = exchange_of(r);
    struct reply *reply = &x->reply;
    if (is_gone(x) || reply->cut) {
        return -1;
    }
    if (reply->file || (reply->no_body && !reply->streaming) || n == 0) {
        return 0;
    }
    if (reply->state == REPLY_HELD) {
        if (!reply->streaming && x->held.n + n <= HOLD_MAX) {
            buf_add(&x->held, p, n);
            return x->held.failed ? failed(x) : 0;
        }
        return begin_stream(x, p, n) == 0 ? 0 : failed(x);
    }
    struct parts parts = {0};
    enum compress_mode mode = reply->streaming ? COMPRESS_FLUSH : COMPRESS_MORE;
    return put_body(x, &parts, p, n, mode) == 0 ? 0 : failed(x);
}

static int reply_flush(struct request *r)
{
    struct exchange *x = exchange_of(r);
    if (is_gone(x) || x->reply.cut) {
        return -1;
    }
    if (x->reply.file || x->reply.state == REPLY_NONE) {
        return 0;
    }
    if (x->reply.state == REPLY_HELD) {
        return begin_stream(x, NULL, 0) == 0 ? 0 : failed(x);
    }
    if (!x->reply.compressor) {
        return 0;
    }
    struct parts parts = {0};
    return put_body(x, &parts, NULL, 0, COMPRESS_FLUSH) == 0 ? 0 : failed(x);
}

static ssize_t reply_read_body(struct request *r, char *buf, size_t n)
{
    return http_body_read(&exchange_of(r)->body, buf, n);
}

static int reply_send_interim(struct request *r, const struct response_head *head)
{
    struct exchange *x = exchange_of(r);
    if (is_gone(x)) {
        return -1;
    }
    if (x->request.proto < 1001 || x->reply.state != REPLY_NONE) {
        return 0;
    }
    struct buf text = {0};
    if (!x->h2) {
        wire_status(&text, head->status, STR_NONE);
    }
    for (size_t i = 0; i < head->count; i++) {
        if (name_is(&head->lines[i], STR("Link"))) {
            buf_add(&text, head->lines[i].text, head->lines[i].len);
            buf_str(&text, STR("\r\n"));
        }
    }
    if (!x->h2) {
        buf_str(&text, STR("\r\n"));
    }
    struct parts parts = {0};
    add_part(&parts, text.p, text.n);
    int bad = text.failed ? 0 : x->h2 ? post(x, &parts, head->status) : put(x, &parts);
    buf_free(&text);
    return bad;
}

/* -- the end -- */

/* Whatever happens after this, the worker's half of the response is over. quietly: the whole response is on
 * its way and the connection goes on: nobody has to be told at once. */
static void give_back(struct exchange *x, bool quietly)
{
    if (atomic_exchange(&x->ended, true)) {
        return;
    }
    if (x->fd >= 0) {
        x->returned_us = clock_coarse_us();
        int was = LEND_WORKER;
        if (quietly && atomic_compare_exchange_strong(&x->lend, &was, LEND_LOOP)) {
            return;
        }
        atomic_store(&x->lend, LEND_POSTED);
    }
    reply_message_end(x);
}

/* An error of a script that says nothing gets the administrator's page. */
static void fill_error(struct exchange *x)
{
    struct reply *reply = &x->reply;
    if (reply->status < 400 || x->held.n > 0 || reply->no_body || !x->head) {
        return;
    }
    struct str page = error_pages_custom(x->loop->front->pages, x->head, reply->status);
    if (page.p) {
        buf_str(&x->held, page);
        if (!reply->type.p) {
            buf_str(&x->lines, STR("Content-Type: text/html; charset=utf-8\r\n"));
        }
    }
}

/* A response that was held back to its end: one piece, with its length. */
static int complete_held(struct exchange *x, struct parts *parts, struct buf *top)
{
    fill_error(x);
    const char *p = x->held.p;
    size_t n = x->held.n;
    choose_coding(x, x->reply.no_body ? x->reply.length : (int64_t)n);
    int64_t length = x->reply.no_body ? x->reply.length : -1;
    if (!x->reply.no_body) {
        x->reply.length = -1;
        if (encode(x, &p, &n, COMPRESS_END) != 0) {
            return -1;
        }
        length = (int64_t)n;
    }
    if (head_parts(x, length, parts, top) != 0) {
        return -1;
    }
    add_part(parts, p, x->reply.no_body ? 0 : n);
    return 0;
}

static int complete_stream(struct exchange *x, struct parts *parts, char size[24])
{
    const char *p = NULL;
    size_t n = 0;
    if (x->reply.compressor && encode(x, &p, &n, COMPRESS_END) != 0) {
        return -1;
    }
    if (!x->reply.no_body && x->reply.length >= 0 && x->reply.sent < (uint64_t)x->reply.length) {
        return -1; /* less than was announced */
    }
    if (x->reply.chunked && n > 0) {
        add_part(parts, size, (size_t)snprintf(size, 24, "%zx\r\n", n));
    }
    add_part(parts, p, n);
    if (x->reply.chunked) {
        add_part(parts, n > 0 ? "\r\n0\r\n\r\n" : "0\r\n\r\n", n > 0 ? 7 : 5);
    }
    return 0;
}

/* The last bytes: written as far as they go; the rest is the loop's. 0 or -1. */
static int put_last(struct exchange *x, struct parts *parts, bool *everything)
{
    *everything = false;
    if (x->fd >= 0 && write_now(x, parts) != 0) {
        return -1;
    }
    if (parts->n == 0) {
        *everything = x->fd >= 0;
        return 0;
    }
    return post(x, parts, 0);
}

static void reply_finish(struct request *r)
{
    struct exchange *x = exchange_of(r);
    struct reply *reply = &x->reply;
    struct parts parts = {0};
    struct buf top = {0};
    char size[24];
    bool everything = false;
    if (reply->state == REPLY_NONE) {
        reply->status = 500;
        reply->no_body = x->head_only;
        reply->state = REPLY_HELD;
    }
    int bad = is_gone(x) || reply->cut ? -1 : 0;
    if (!bad && reply->file && reply->state == REPLY_HELD) {
        add_common(x);
        give_back(x, false); /* the loop sends the file */
        return;
    }
    if (!bad) {
        bad = reply->state == REPLY_HELD ? complete_held(x, &parts, &top) : complete_stream(x, &parts, size);
    }
    if (!bad) {
        bad = put_last(x, &parts, &everything);
    }
    buf_free(&top);
    reply->state = REPLY_DONE;
    reply->cut = bad != 0;
    give_back(x, everything && !bad && !reply->close);
}

void reply_done(struct request *r)
{
    struct exchange *x = exchange_of(r);
    if (!atomic_load(&x->ended)) {
        reply_finish(r);
    }
    exchange_drop(x);
}

/* An error in the place of a response whose head has not left. */
static void reply_error(struct exchange *x, int status)
{
    struct request *r = &x->request;
    static const struct header_line type = {"Content-Type: text/html; charset=utf-8", 38, 12};
    struct response_head head = {.status = status, .lines = &type, .count = 1};
    char text[160];
    x->lines.n = x->held.n = 0;
    x->reply = (struct reply){.length = -1};
    if (reply_send_head(r, &head) == 0) {
        if (status == 503) {
            buf_str(&x->lines, STR("Retry-After: 1\r\n"));
        }
        int n = snprintf(text, sizeof text, "<!DOCTYPE html>\n<title>%d %s</title>\n<h1>%d %s</h1>\n", status,
                         wire_reason(status), status, wire_reason(status));
        reply_write(r, text, (size_t)n);
    }
    reply_finish(r);
}

void reply_expired(struct request *r)
{
    struct exchange *x = exchange_of(r);
    log_limited(LEVEL_WARNING, "http: a request waited too long for a worker and was answered with 503");
    atomic_fetch_add_explicit(&x->loop->front->rejected, 1, memory_order_relaxed);
    reply_error(x, 503);
    exchange_drop(x);
}

static void reply_abandon(struct request *r, int status, bool locked)
{
    struct exchange *x = exchange_of(r);
    if (!locked && x->fd >= 0) {
        /* The worker may be inside a write: the descriptor stays its own, and the connection with it. */
        atomic_store(&x->gone, true);
        shutdown(x->fd, SHUT_RDWR);
        atomic_fetch_add(&x->loop->front->written_off, 1);
        return;
    }
    bool head_left = x->reply.state == REPLY_STREAM || x->reply.state == REPLY_DONE;
    if (locked && !head_left && !is_gone(x)) {
        reply_error(x, status);
        return;
    }
    x->reply.cut = true;
    give_back(x, false);
}

const struct request_io reply_io = {
    .read_body = reply_read_body,
    .send_head = reply_send_head,
    .send_interim = reply_send_interim,
    .write = reply_write,
    .flush = reply_flush,
    .finish = reply_finish,
    .abandon = reply_abandon,
};
