/* Response heads. See the header. */
#include "http/answer/reply_head.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "http/answer/accounting.h"
#include "http/content/entity_tag.h"
#include "http/wire/h1_parse.h"
#include "http/wire/path.h"
#include "http/wire/wire.h"

static const struct http_settings *settings_of(const struct exchange *x)
{
    return x->http.site->settings;
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
        {"Upgrade", 7},     {"TE", 2},          {"Trailer", 7},
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
        /* Passed on: a server in front of us may buffer, too. */
        reply->streaming |= name_is(line, STR("X-Accel-Buffering")) && str_ieq(value, STR("no"));
        break;
    default: break;
    }
    return true;
}

/* X-Accel-Redirect names a path below http.sendfile_root, X-Sendfile a file there. */
static bool is_file(const struct header_line *line)
{
    return name_is(line, STR("X-Accel-Redirect")) || name_is(line, STR("X-Sendfile"));
}

/* The path of a file below the root; NULL: there is none. */
static const char *file_below(struct exchange *x, const char *root, const char *path)
{
    const char *found = NULL;
    char *real = realpath(path, NULL), *real_root = realpath(root, NULL);
    size_t n = real_root ? strlen(real_root) : 0;
    if (real && real_root && strncmp(real, real_root, n) == 0 && (real[n] == '/' || (n == 1 && real[1]))) {
        found = arena_dup(x->arena, real, strlen(real));
    }
    free(real);
    free(real_root);
    return found;
}

/* As it was written. X-Sendfile may be absolute. */
static const char *find_literal(struct exchange *x, const char *root, struct str path, bool accel)
{
    bool absolute = !accel && path.n && path.p[0] == '/';
    const char *full = absolute ? path.p : arena_printf(x->arena, "%s/%s", root, path.p);
    return full ? file_below(x, root, full) : NULL;
}

/* As a URL: without what is behind '?', and decoded. */
static const char *find_decoded(struct exchange *x, const char *root, struct str path, bool accel)
{
    char text[PATH_TEXT_MAX + 1];
    struct str url = STR_NONE;
    str_split(&path, '?', &url);
    bool slash = url.n && url.p[0] == '/';
    const char *raw = slash ? url.p : arena_printf(x->arena, "/%.*s", (int)url.n, url.p);
    int n = raw ? path_text((struct str){raw, url.n + !slash}, text) : -1;
    return n < 0 ? NULL : find_literal(x, root, (struct str){text, (size_t)n}, accel || !slash);
}

static void take_file(struct exchange *x, const struct header_line *line)
{
    bool accel = name_is(line, STR("X-Accel-Redirect")); /* a URL first, X-Sendfile a path */
    const char *root = settings_of(x)->sendfile_root;
    struct str path = keep(x, line_value(line));
    const char *found = NULL;
    if (path.p) {
        found = accel ? find_decoded(x, root, path, accel) : find_literal(x, root, path, accel);
    }
    if (path.p && !found) {
        found = accel ? find_literal(x, root, path, accel) : find_decoded(x, root, path, accel);
    }
    x->reply.file = found ? found : ""; /* not found */
}

/* The status that the client gets, by php-fpm's rules: a field Status says it, unless there is a status line
 * of the script's own. False: the field is none that a web server understands. */
static bool take_status(struct exchange *x, const struct response_head *head)
{
    struct reply *reply = &x->reply;
    bool own_line = head->status != 200 && head->status_line.p;
    uint64_t status = (uint64_t)head->status;
    reply->status_line = head->status_line.p ? keep(x, head->status_line) : STR_NONE;
    for (size_t i = 0; i < head->count && !own_line; i++) {
        if (!name_is(&head->lines[i], STR("Status"))) {
            continue;
        }
        struct str value = line_value(&head->lines[i]);
        if (value.n < 3 || (value.n > 3 && value.p[3] != ' ') ||
            !str_to_u64((struct str){value.p, 3}, &status)) {
            return false;
        }
        char *line = arena_printf(x->arena, "HTTP/1.1 %.*s", (int)value.n, value.p);
        reply->status_line = line ? str_of(line) : STR_NONE;
        break;
    }
    reply->status = status >= 200 && status <= 999 ? (int)status : 500;
    return true;
}

/* Why this line of a head can't be passed on; NULL: it can. What is no field could be read as anything by
 * whoever comes next, and ends an HTTP/2 stream. */
static const char *fault_of(const struct exchange *x, const struct header_line *line)
{
    if (line->name_len >= line->len || line->text[line->name_len] != ':' ||
        !h1_parse_token((struct str){line->text, line->name_len})) {
        return "a line of its head is no field";
    }
    if (!wire_value_ok(line_value(line))) {
        return "a field of its head holds a control character";
    }
    if (is_file(line) && !settings_of(x)->sendfile_root) {
        return "it names a file to send, and http.sendfile_root is not set";
    }
    return NULL;
}

static const char *take_lines(struct exchange *x, const struct response_head *head)
{
    const struct added_fields *added = &x->http.site->added;
    struct reply *reply = &x->reply;
    size_t size = 0;
    for (size_t i = 0; i < head->count; i++) {
        const struct header_line *line = &head->lines[i];
        if (line->len == 0) {
            continue;
        }
        const char *fault = fault_of(x, line);
        size += line->len;
        if (fault || i >= WIRE_LINES_MAX || size > WIRE_HEAD_MAX) {
            return fault ? fault : "its head is too large";
        }
        reply->added &= ~added_fields_seen(added, (struct str){line->text, line->name_len});
        if (is_file(line)) {
            take_file(x, line);
        } else if (!is_ours(line) && !name_is(line, STR("Status")) && note_line(x, line)) {
            buf_add(&x->reply.lines, line->text, line->len);
            buf_str(&x->reply.lines, STR("\r\n"));
        }
    }
    return NULL;
}

/* The answer becomes an error; what the script writes from here on is dropped. */
static void refuse(struct exchange *x, const char *why)
{
    const char *script = x->request.script ? x->request.script : "a script";
    log_limited(LEVEL_ERROR, "[pool %s] %s: %s, the client got 500", x->http.site->conf->name, script, why);
    reply_reset(&x->reply);
    x->reply.status = 500;
    x->reply.refused = true;
    x->reply.added = added_fields_all(&x->http.site->added, x->http.client.https);
}

int reply_head_take(struct request *r, const struct response_head *head)
{
    struct exchange *x = exchange_of_request(r);
    struct reply *reply = &x->reply;
    if (reply_is_gone(x)) {
        return -1;
    }
    reply->added = added_fields_all(&x->http.site->added, x->http.client.https);
    const char *fault = take_status(x, head) ? take_lines(x, head) : "its field Status is no status";
    if (fault) {
        refuse(x, fault);
    }
    reply->no_body = head->no_body || x->http.head_only || !wire_has_body(reply->status);
    if (reply->status == 205) {
        reply->length = 0; /* RFC 9110, 15.3.6: no content, and said so */
    }
    reply->state = REPLY_HELD;
    return x->reply.lines.failed ? -1 : 0;
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
    return x->http.coding != CODING_IDENTITY && !x->reply.no_body && is_codable(x, size);
}

void reply_head_coding(struct exchange *x, int64_t size)
{
    struct reply *reply = &x->reply;
    if (!is_codable(x, size)) {
        return;
    }
    if (!reply->has_vary) {
        buf_str(&x->reply.lines, STR("Vary: Accept-Encoding\r\n"));
    }
    if (x->http.coding == CODING_IDENTITY || (reply->no_body && !x->http.head_only)) {
        return;
    }
    if (!reply->no_body) {
        reply->compressor = compressor_create(x->http.coding, compress_level(settings_of(x), x->http.coding));
    }
    reply->coded = reply->no_body || reply->compressor;
    if (reply->coded) {
        buf_printf(&x->reply.lines, "Content-Encoding: %s\r\n", compress_name(x->http.coding));
    }
}

/* Whose tag the script's is: of the coding that leaves; in a 304 of the one that the client has. */
static enum coding tag_coding(const struct exchange *x)
{
    unsigned has = x->http.tag_codings;
    if (x->reply.coded || (x->reply.status == 304 && has & 1u << x->http.coding)) {
        return x->http.coding;
    }
    for (int coding = CODING_IDENTITY + 1; x->reply.status == 304 && !(has & 1) && coding < CODING_COUNT;
         coding++) {
        if (has & 1u << coding) {
            return (enum coding)coding;
        }
    }
    return CODING_IDENTITY;
}

static void add_etag(struct exchange *x)
{
    struct str etag = x->reply.etag;
    if (etag.p) {
        buf_str(&x->reply.lines, STR("ETag: "));
        entity_tag_mark(&x->reply.lines, etag, tag_coding(x));
        buf_str(&x->reply.lines, STR("\r\n"));
    }
}

/* What every response has. */
static void add_common(struct exchange *x)
{
    if (!x->reply.has_date) {
        buf_str(&x->reply.lines, wire_date());
    }
    if (!x->reply.has_server) {
        buf_str(&x->reply.lines, wire_server);
    }
    add_etag(x);
    accounting_lines(x, &x->reply.lines);
    const struct added_fields *added = &x->http.site->added;
    for (size_t i = 0; x->reply.added && i < added->count; i++) {
        if (x->reply.added & 1u << i) {
            buf_str(&x->reply.lines, added->fields[i].name);
            buf_str(&x->reply.lines, STR(": "));
            buf_str(&x->reply.lines, added->fields[i].value);
            buf_str(&x->reply.lines, STR("\r\n"));
        }
    }
}

/* Everything in x->reply.lines that depends on the body: its length (-1: unknown) and whether the connection
 * lives. */
static void add_framing(struct exchange *x, int64_t length)
{
    struct reply *reply = &x->reply;
    if (length >= 0 && wire_has_length(reply->status)) {
        buf_str(&x->reply.lines, STR("Content-Length: "));
        buf_u64(&x->reply.lines, (uint64_t)length);
        buf_str(&x->reply.lines, STR("\r\n"));
    }
    if (x->http.h2) {
        return;
    }
    bool http10 = x->request.proto < 1001;
    bool delimited = length >= 0 || reply->no_body;
    if (!delimited && !http10) {
        reply->chunked = true;
        buf_str(&x->reply.lines, STR("Transfer-Encoding: chunked\r\n"));
    }
    reply->close = !x->http.keep_alive || (!delimited && http10) || front_leaves(x->loop->front);
    if (reply->close) {
        buf_str(&x->reply.lines, STR("Connection: close\r\n"));
    } else if (http10) {
        buf_str(&x->reply.lines, STR("Connection: keep-alive\r\n"));
    }
}

int reply_head_parts(struct exchange *x, int64_t length, struct reply_parts *parts, struct buf *top)
{
    add_common(x);
    add_framing(x, length);
    if (x->reply.lines.failed) {
        return -1;
    }
    if (x->http.h2) {
        struct reply_parts head = {0};
        reply_parts_add(&head, x->reply.lines.p ? x->reply.lines.p : "", x->reply.lines.n);
        return reply_parts_post(x, &head, x->reply.status);
    }
    buf_str(&x->reply.lines, STR("\r\n"));
    wire_status(top, x->reply.status, x->reply.status_line);
    if (x->reply.lines.failed || top->failed) {
        return -1;
    }
    x->reply.head_n = top->n + x->reply.lines.n;
    reply_parts_add(parts, top->p, top->n);
    reply_parts_add(parts, x->reply.lines.p, x->reply.lines.n);
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
    if (!x->http.h2) {
        wire_status(&text, head->status, STR_NONE);
    }
    for (size_t i = 0; i < head->count; i++) {
        if (name_is(&head->lines[i], STR("Link")) && !fault_of(x, &head->lines[i])) {
            buf_add(&text, head->lines[i].text, head->lines[i].len);
            buf_str(&text, STR("\r\n"));
        }
    }
    if (!x->http.h2) {
        buf_str(&text, STR("\r\n"));
    }
    struct reply_parts parts = {0};
    x->reply.interim_n += x->http.h2 ? 0 : text.n;
    reply_parts_add(&parts, text.p, text.n);
    int bad = text.failed  ? 0
              : x->http.h2 ? reply_parts_post(x, &parts, head->status)
                           : reply_parts_put(x, &parts);
    buf_free(&text);
    return bad;
}
