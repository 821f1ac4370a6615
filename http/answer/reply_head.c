/* Response heads. See the header. */
#include "http/answer/reply_head.h"

#include <stdlib.h>
#include <string.h>

#include "http/answer/account.h"
#include "http/wire/wire.h"

static const struct http_settings *settings_of(const struct exchange *x)
{
    return x->site->settings;
}

/* -- what PHP said -- */

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

int reply_head_take(struct request *r, const struct response_head *head)
{
    struct exchange *x = exchange_of_request(r);
    struct reply *reply = &x->reply;
    if (reply_is_gone(x)) {
        return -1;
    }
    reply->status = head->status >= 200 && head->status <= 999 ? head->status : 500;
    reply->status_line = head->status_line.p ? keep(x, head->status_line) : STR_NONE;
    reply->no_body = head->no_body || x->head_only || !wire_has_body(reply->status);
    const struct security_headers *security = &x->site->security;
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

/* Another client might get it compressed. */
static bool is_codable(const struct exchange *x, int64_t size)
{
    const struct reply *reply = &x->reply;
    const struct http_settings *settings = settings_of(x);
    return settings->compression && !reply->has_coding && !reply->no_transform &&
           wire_has_body(reply->status) && reply->status != 206 && reply->type.p &&
           compress_wanted(settings, reply->type, size);
}

bool reply_head_codes(const struct exchange *x, int64_t size)
{
    return x->coding != CODING_IDENTITY && !x->reply.no_body && is_codable(x, size);
}

void reply_head_coding(struct exchange *x, int64_t size)
{
    struct reply *reply = &x->reply;
    if (!is_codable(x, size)) {
        return;
    }
    if (!reply->has_vary) {
        buf_str(&x->lines, STR("Vary: Accept-Encoding\r\n"));
    }
    if (x->coding == CODING_IDENTITY || reply->no_body) {
        return;
    }
    reply->compressor = compressor_create(x->coding, compress_level(settings_of(x), x->coding));
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

void reply_head_common(struct exchange *x)
{
    if (!x->reply.has_date) {
        buf_str(&x->lines, wire_date());
    }
    if (!x->reply.has_server) {
        buf_str(&x->lines, wire_server);
    }
    add_etag(x);
    account_lines(x, &x->lines);
    const struct security_headers *security = &x->site->security;
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

int reply_head_parts(struct exchange *x, int64_t length, struct reply_parts *parts, struct buf *top)
{
    reply_head_common(x);
    add_framing(x, length);
    if (x->lines.failed) {
        return -1;
    }
    if (x->h2) {
        struct reply_parts head = {0};
        reply_parts_add(&head, x->lines.p ? x->lines.p : "", x->lines.n);
        return reply_parts_post(x, &head, x->reply.status);
    }
    buf_str(&x->lines, STR("\r\n"));
    wire_status(top, x->reply.status, x->reply.status_line);
    if (x->lines.failed || top->failed) {
        return -1;
    }
    reply_parts_add(parts, top->p, top->n);
    reply_parts_add(parts, x->lines.p, x->lines.n);
    return 0;
}

int reply_head_interim(struct request *r, const struct response_head *head)
{
    struct exchange *x = exchange_of_request(r);
    if (reply_is_gone(x)) {
        return -1;
    }
    if (x->request.proto < 1001 || x->reply.state != REPLY_NONE || head->status == 101) {
        return 0; /* 101 would be an answer: the client would speak another protocol */
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
    struct reply_parts parts = {0};
    reply_parts_add(&parts, text.p, text.n);
    int bad = text.failed ? 0
              : x->h2     ? reply_parts_post(x, &parts, head->status)
                          : reply_parts_put(x, &parts);
    buf_free(&text);
    return bad;
}
