/* The HTTP/1 parser (RFC 9112). Pure functions: see the header. A head is first looked through for its end,
 * which also refuses bare CR and LF, and is parsed only when it is complete; so a slow sender costs one look
 * at each byte. */
#include "http/wire/h1_parse.h"

#include <string.h>

#include "engine/base/encoding.h"

#define CHUNK_OVERHEAD_MAX 8192 /* extensions and trailers of one body together */
#define CHUNK_DIGITS_MAX   15   /* 60 bits */

enum { IS_TOKEN = 1, IS_VALUE = 2, IS_TARGET = 4, IS_HOST = 8 };

/* One byte's roles: in tokens, field values, request targets, host names. */
static unsigned char roles[256];

static void __attribute__((constructor)) fill_roles(void)
{
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (alnum || (c != 0 && c < 128 && strchr("!#$%&'*+-.^_`|~", c))) {
            roles[c] |= IS_TOKEN;
        }
        if (c == '\t' || (c >= ' ' && c != 127)) {
            roles[c] |= IS_VALUE;
        }
        if (c > ' ' && c != 127 && c != '#') {
            roles[c] |= IS_TARGET;
        }
        if (alnum || (c != 0 && c < 128 && strchr("-._~%!$&'()*+,;=", c))) {
            roles[c] |= IS_HOST;
        }
    }
}

static bool all_are(struct str s, unsigned char role)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!(roles[(unsigned char)s.p[i]] & role)) {
            return false;
        }
    }
    return true;
}

bool h1_parse_token(struct str s)
{
    return s.n > 0 && all_are(s, IS_TOKEN);
}

ptrdiff_t h1_parse_end(const char *p, size_t n, size_t limit, size_t *scanned)
{
    size_t at = *scanned;
    if (n > 0 && !(roles[(unsigned char)p[0]] & IS_TOKEN)) {
        return H1_BAD;
    }
    for (;;) {
        const char *lf = at < n ? memchr(p + at, '\n', n - at) : NULL;
        if (!lf) {
            break;
        }
        size_t i = (size_t)(lf - p);
        if (i == 0 || p[i - 1] != '\r') {
            return H1_BAD;
        }
        if (i + 1 > limit) {
            break;
        }
        if (i >= 3 && p[i - 2] == '\n') {
            return (ptrdiff_t)(i + 1);
        }
        at = i + 1;
        *scanned = at;
    }
    if (n < limit) {
        return H1_MORE;
    }
    return memchr(p, '\n', limit) ? H1_TOO_LARGE : H1_URI_TOO_LONG;
}

/* -- the request line -- */

static bool port_ok(struct str port)
{
    unsigned long value = 0;
    for (size_t i = 0; i < port.n; i++) {
        if (port.p[i] < '0' || port.p[i] > '9' || i >= 5) {
            return false;
        }
        value = value * 10 + (unsigned long)(port.p[i] - '0');
    }
    return value <= 65535;
}

static bool ipv6_ok(struct str s)
{
    if (s.n < 2) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (!s.p[i] || !strchr("0123456789abcdefABCDEF:.", s.p[i])) {
            return false;
        }
    }
    return true;
}

bool h1_parse_host_ok(struct str host)
{
    if (host.n == 0 || host.n > 255 + 6) {
        return false;
    }
    const char *end = host.p + host.n;
    const char *after; /* the name: a colon and the port, or nothing */
    if (host.p[0] == '[') {
        const char *close = memchr(host.p, ']', host.n);
        if (!close || !ipv6_ok((struct str){host.p + 1, (size_t)(close - host.p - 1)})) {
            return false;
        }
        after = close + 1;
    } else {
        const char *colon = memchr(host.p, ':', host.n);
        after = colon ? colon : end;
        if (after == host.p || !all_are((struct str){host.p, (size_t)(after - host.p)}, IS_HOST)) {
            return false;
        }
    }
    if (after == end) {
        return true;
    }
    return *after == ':' && port_ok((struct str){after + 1, (size_t)(end - after - 1)});
}

bool h1_parse_target(struct str target, struct http_head *head)
{
    if (target.n == 0 || !all_are(target, IS_TARGET)) {
        return false;
    }
    const char *mark = memchr(target.p, '?', target.n);
    size_t n = mark ? (size_t)(mark - target.p) : target.n;
    head->path = n > 0 ? (struct str){target.p, n} : STR("/");
    head->query = mark ? (struct str){mark + 1, target.n - n - 1} : STR_NONE;
    return true;
}

/* "http://host/path": the path goes to head->target, the host to *host. */
static bool absolute_form(struct str target, struct http_head *head, struct str *host)
{
    size_t scheme = 0;
    if (target.n > 7 && str_ieq((struct str){target.p, 7}, STR("http://"))) {
        scheme = 7;
    } else if (target.n > 8 && str_ieq((struct str){target.p, 8}, STR("https://"))) {
        scheme = 8;
    } else {
        return false;
    }
    const char *begin = target.p + scheme;
    const char *end = target.p + target.n;
    const char *path = begin;
    while (path < end && *path != '/' && *path != '?') {
        path++;
    }
    *host = (struct str){begin, (size_t)(path - begin)};
    if (!h1_parse_host_ok(*host)) {
        return false;
    }
    head->target = path == end ? STR("/") : (struct str){path, (size_t)(end - path)};
    return true;
}

static int request_target(struct str target, struct http_head *head, struct str *absolute_host)
{
    if (target.n > H1_MAX_TARGET) {
        return H1_URI_TOO_LONG;
    }
    head->target = target;
    if (target.n == 1 && target.p[0] == '*') {
        if (!str_eq(head->method, STR("OPTIONS"))) {
            return H1_BAD;
        }
    } else if (target.n > 0 && target.p[0] != '/') {
        if (!all_are(target, IS_TARGET) || !absolute_form(target, head, absolute_host)) {
            return H1_BAD;
        }
    }
    return h1_parse_target(head->target, head) ? 0 : H1_BAD;
}

static int request_line(struct str line, struct http_head *head, struct str *absolute_host)
{
    const char *space = memchr(line.p, ' ', line.n);
    if (!space) {
        return H1_BAD;
    }
    head->method = (struct str){line.p, (size_t)(space - line.p)};
    if (!h1_parse_token(head->method) || head->method.n > 32) {
        return H1_BAD;
    }
    struct str rest = {space + 1, line.n - head->method.n - 1};
    space = memchr(rest.p, ' ', rest.n);
    if (!space) {
        return rest.n > H1_MAX_TARGET ? H1_URI_TOO_LONG : H1_BAD;
    }
    struct str target = {rest.p, (size_t)(space - rest.p)};
    struct str version = {space + 1, rest.n - target.n - 1};
    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || version.p[6] != '.' || version.p[5] < '0' ||
        version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9') {
        return H1_BAD;
    }
    if (version.p[5] != '1') {
        return H1_VERSION;
    }
    head->proto = version.p[7] >= '1' ? 1001 : 1000; /* 1.2 is answered as the 1.1 that it contains */
    return request_target(target, head, absolute_host);
}

/* -- fields -- */

static int one_field(struct str line, struct http_head *head)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon || head->field_count == HTTP_MAX_FIELDS) {
        return colon ? H1_TOO_LARGE : H1_BAD;
    }
    struct str name = {line.p, (size_t)(colon - line.p)};
    struct str value = str_trim((struct str){colon + 1, line.n - name.n - 1});
    /* A folded line begins with a blank, and "Name :" has one before the colon: neither is a token. */
    if (!h1_parse_token(name) || !all_are(value, IS_VALUE)) {
        return H1_BAD;
    }
    head->fields[head->field_count++] = (struct http_field){name, value};
    return 0;
}

/* What is gathered from all fields before it is judged. */
struct framing {
    struct str host, length, coding, upgrade;
    unsigned hosts, lengths, codings, settings;
    bool close, keep_alive, upgrade_listed, settings_listed, expect_bad;
};

static void connection_options(struct str value, struct framing *f)
{
    struct str option;
    while (str_split(&value, ',', &option)) {
        option = str_trim(option);
        f->close |= str_ieq(option, STR("close"));
        f->keep_alive |= str_ieq(option, STR("keep-alive"));
        f->upgrade_listed |= str_ieq(option, STR("upgrade"));
        f->settings_listed |= str_ieq(option, STR("http2-settings"));
    }
}

static void note_field(const struct http_field *field, struct framing *f, struct h1_facts *facts)
{
    struct str name = field->name;
    switch (name.p[0] | 0x20) {
    case 'h':
        if (str_ieq(name, STR("Host"))) {
            f->host = field->value;
            f->hosts++;
        } else if (str_ieq(name, STR("HTTP2-Settings"))) {
            facts->h2_settings = field->value;
            f->settings++;
        }
        break;
    case 'c':
        if (str_ieq(name, STR("Content-Length"))) {
            f->length = field->value;
            f->lengths++;
        } else if (str_ieq(name, STR("Connection"))) {
            connection_options(field->value, f);
        }
        break;
    case 't':
        if (str_ieq(name, STR("Transfer-Encoding"))) {
            f->coding = field->value;
            f->codings++;
        }
        break;
    case 'e':
        if (str_ieq(name, STR("Expect"))) {
            facts->expect_continue = str_ieq(field->value, STR("100-continue"));
            f->expect_bad |= !facts->expect_continue;
        }
        break;
    case 'u':
        if (str_ieq(name, STR("Upgrade"))) {
            f->upgrade = field->value;
        }
        break;
    default: break;
    }
}

static int judge_length(const struct framing *f, struct http_head *head, struct h1_facts *facts)
{
    head->content_length = 0;
    if (f->codings) {
        if (f->lengths || f->codings > 1 || head->proto < 1001) {
            return H1_BAD;
        }
        if (!str_ieq(f->coding, STR("chunked"))) {
            return H1_CODING;
        }
        facts->chunked = true;
        head->content_length = -1;
    } else if (f->lengths) {
        uint64_t length;
        if (f->lengths > 1 || !str_to_u64(f->length, &length) || length > INT64_MAX / 2) {
            return H1_BAD;
        }
        head->content_length = (int64_t)length;
    }
    return 0;
}

static int judge_host(const struct framing *f, struct str absolute_host, struct http_head *head)
{
    if (f->hosts > 1 || (f->hosts == 0 && head->proto >= 1001)) {
        return H1_BAD;
    }
    if (f->hosts && !h1_parse_host_ok(f->host)) {
        return H1_BAD;
    }
    head->host = absolute_host.p ? absolute_host : f->host;
    for (size_t i = 0; absolute_host.p && i < head->field_count; i++) {
        if (str_ieq(head->fields[i].name, STR("Host"))) {
            head->fields[i].value = absolute_host; /* RFC 9112, 3.2.2: what it said is ignored */
        }
    }
    return 0;
}

static int judge(const struct framing *f, struct str absolute_host, struct http_head *head,
                 struct h1_facts *facts)
{
    int bad = judge_length(f, head, facts);
    if (!bad) {
        bad = judge_host(f, absolute_host, head);
    }
    if (!bad && f->expect_bad && head->proto >= 1001) {
        bad = H1_EXPECTATION;
    }
    if (bad) {
        return bad;
    }
    if (head->proto < 1001 || head->content_length == 0) {
        facts->expect_continue = false;
    }
    facts->keep_alive = head->proto >= 1001 ? !f->close : f->keep_alive && !f->close;
    facts->upgrade_h2c = head->proto >= 1001 && f->settings == 1 && f->upgrade_listed && f->settings_listed &&
                         str_ieq(f->upgrade, STR("h2c"));
    return 0;
}

int h1_parse_head(const char *p, size_t n, struct http_head *head, struct h1_facts *facts)
{
    struct framing f = {0};
    struct str absolute_host = STR_NONE;
    const char *end = p + n;
    bool first = true;
    memset(facts, 0, sizeof *facts);
    head->field_count = 0;
    head->host = STR_NONE;
    while (p < end) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        if (!cr || cr + 1 == end || cr[1] != '\n') {
            return H1_BAD;
        }
        struct str line = {p, (size_t)(cr - p)};
        p = cr + 2;
        if (line.n == 0) {
            break;
        }
        int bad = first ? request_line(line, head, &absolute_host) : one_field(line, head);
        if (bad) {
            return bad;
        }
        if (!first) {
            note_field(&head->fields[head->field_count - 1], &f, facts);
        }
        first = false;
    }
    return first || p != end ? H1_BAD : judge(&f, absolute_host, head, facts);
}

/* -- chunked -- */

static bool size_byte(struct h1_chunks *c, char byte)
{
    int digit = c->blank ? -1 : hex_digit(byte);
    if (digit >= 0) {
        c->left = c->left << 4 | (uint64_t)digit;
        c->digit = true;
        c->digits += c->left > 0; /* zeros in front say nothing */
        return c->digits <= CHUNK_DIGITS_MAX && (c->left > 0 || ++c->overhead <= CHUNK_OVERHEAD_MAX);
    }
    if (!c->digit) {
        return false;
    }
    if (byte == ';') {
        c->state = CHUNK_EXTENSION;
    } else if (byte == ' ' || byte == '\t') { /* before an extension only */
        c->blank = true;
        return ++c->overhead <= CHUNK_OVERHEAD_MAX;
    } else if (byte == '\r' && !c->blank) {
        c->state = CHUNK_SIZE_LF;
    } else {
        return false;
    }
    return true;
}

static bool text_byte(struct h1_chunks *c, char byte, enum h1_chunk_state after_cr)
{
    if (byte == '\r') {
        c->state = after_cr;
        return true;
    }
    return roles[(unsigned char)byte] & IS_VALUE && ++c->overhead <= CHUNK_OVERHEAD_MAX;
}

static bool trailer_byte(struct h1_chunks *c, char byte)
{
    if (c->state == CHUNK_TRAILER_START) {
        if (byte == '\r') {
            c->state = CHUNK_END_LF;
            return true;
        }
        c->state = CHUNK_TRAILER_NAME;
        return roles[(unsigned char)byte] & IS_TOKEN && ++c->trailers <= HTTP_MAX_FIELDS;
    }
    if (byte == ':') {
        c->state = CHUNK_TRAILER_VALUE;
        return true;
    }
    return roles[(unsigned char)byte] & IS_TOKEN && ++c->overhead <= CHUNK_OVERHEAD_MAX;
}

/* One byte that is not chunk data; false = the body is malformed. */
static bool framing_byte(struct h1_chunks *c, char byte)
{
    switch (c->state) {
    case CHUNK_SIZE: return size_byte(c, byte);
    case CHUNK_EXTENSION: return text_byte(c, byte, CHUNK_SIZE_LF);
    case CHUNK_SIZE_LF: c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER_START; return byte == '\n';
    case CHUNK_DATA_CR: c->state = CHUNK_DATA_LF; return byte == '\r';
    case CHUNK_DATA_LF:
        c->state = CHUNK_SIZE;
        c->digits = 0;
        c->digit = c->blank = false;
        c->left = 0;
        return byte == '\n';
    case CHUNK_TRAILER_START:
    case CHUNK_TRAILER_NAME: return trailer_byte(c, byte);
    case CHUNK_TRAILER_VALUE: return text_byte(c, byte, CHUNK_TRAILER_LF);
    case CHUNK_TRAILER_LF: c->state = CHUNK_TRAILER_START; return byte == '\n';
    case CHUNK_END_LF: c->state = CHUNK_DONE; return byte == '\n';
    case CHUNK_DATA:
    case CHUNK_DONE: break;
    }
    return false;
}

enum h1_chunk_result h1_chunks_next(struct h1_chunks *c, const char *p, size_t n, size_t *used,
                                    struct str *data)
{
    size_t i = 0;
    enum h1_chunk_result result = H1_CHUNK_MORE;
    while (i < n && c->state != CHUNK_DONE) {
        if (c->state == CHUNK_DATA) {
            size_t take = n - i < c->left ? n - i : (size_t)c->left;
            *data = (struct str){p + i, take};
            c->left -= take;
            if (c->left == 0) {
                c->state = CHUNK_DATA_CR;
            }
            i += take;
            result = H1_CHUNK_DATA;
            break;
        }
        if (!framing_byte(c, p[i])) {
            *used = i;
            return H1_CHUNK_BAD;
        }
        i++;
    }
    *used = i;
    return c->state == CHUNK_DONE ? H1_CHUNK_END : result;
}
