/* FastCGI records and CGI heads. See the header. */
#include "http/wire/upstream_wire.h"

#include <string.h>

#include "http/wire/h1_parse.h"

#define VERSION   1
#define BEGIN     1
#define RESPONDER 1
#define KEEP_CONN 1
#define ID        1 /* one request at a time on a connection */

/* -- out -- */

static void add_header(struct buf *out, int type, size_t content, size_t padding)
{
    const unsigned char header[8] = {VERSION,
                                     (unsigned char)type,
                                     0,
                                     ID,
                                     (unsigned char)(content >> 8),
                                     (unsigned char)content,
                                     (unsigned char)padding,
                                     0};
    buf_add(out, (const char *)header, sizeof header);
}

void upstream_wire_begin(struct buf *out, bool keep_alive)
{
    const char body[8] = {0, RESPONDER, keep_alive ? KEEP_CONN : 0};
    add_header(out, BEGIN, sizeof body, 0);
    buf_add(out, body, sizeof body);
}

static void add_length(struct buf *out, size_t n)
{
    unsigned char bytes[4] = {(unsigned char)(n >> 24 | 0x80), (unsigned char)(n >> 16),
                              (unsigned char)(n >> 8), (unsigned char)n};
    if (n < 128) {
        buf_add(out, (const char *)bytes + 3, 1);
    } else {
        buf_add(out, (const char *)bytes, 4);
    }
}

void upstream_wire_param(struct buf *pairs, struct str name, struct str value)
{
    add_length(pairs, name.n);
    add_length(pairs, value.n);
    buf_str(pairs, name);
    buf_add(pairs, value.n ? value.p : "", value.n);
}

void upstream_wire_stream(struct buf *out, enum upstream_type type, const char *p, size_t n)
{
    static const char zeros[8];
    size_t at = 0;
    do {
        size_t take = n - at < UPSTREAM_RECORD ? n - at : UPSTREAM_RECORD;
        size_t padding = (8 - take % 8) % 8;
        add_header(out, type, take, padding);
        if (take > 0) {
            buf_add(out, p + at, take);
        }
        buf_add(out, zeros, padding);
        at += take;
    } while (at < n);
}

/* -- in -- */

static bool take_header(struct upstream_records *r, const char *p, size_t n, size_t *used)
{
    while (r->have < sizeof r->header && *used < n) {
        r->header[r->have++] = (unsigned char)p[(*used)++];
    }
    if (r->have < sizeof r->header) {
        return false;
    }
    r->content = (unsigned)r->header[4] << 8 | r->header[5];
    r->padding = r->header[6];
    r->end_n = 0;
    return true;
}

static void take_end(struct upstream_records *r, struct str data)
{
    for (size_t i = 0; i < data.n && r->end_n < sizeof r->end; i++) {
        r->end[r->end_n++] = (unsigned char)data.p[i];
    }
}

enum upstream_event upstream_records_next(struct upstream_records *r, const char *p, size_t n, size_t *used,
                                          struct str *data, int *status)
{
    *used = 0;
    for (;;) {
        if (r->have < sizeof r->header && !take_header(r, p, n, used)) {
            return UPSTREAM_MORE;
        }
        int type = r->header[1];
        if (r->header[0] != VERSION) {
            return UPSTREAM_BAD;
        }
        if (r->content > 0) {
            size_t take = n - *used < r->content ? n - *used : r->content;
            if (take == 0) {
                return UPSTREAM_MORE;
            }
            *data = (struct str){p + *used, take};
            *used += take;
            r->content -= (unsigned)take;
            if (type == UPSTREAM_STDOUT || type == UPSTREAM_STDERR) {
                return type == UPSTREAM_STDOUT ? UPSTREAM_OUT : UPSTREAM_ERR;
            }
            take_end(r, *data);
            continue;
        }
        size_t skip = n - *used < r->padding ? n - *used : r->padding;
        *used += skip;
        r->padding -= (unsigned)skip;
        if (r->padding > 0) {
            return UPSTREAM_MORE;
        }
        r->have = 0;
        if (type == UPSTREAM_END) {
            *status = r->end_n == sizeof r->end ? r->end[4] : -1;
            return *status < 0 ? UPSTREAM_BAD : UPSTREAM_OVER;
        }
    }
}

/* -- a response's head -- */

size_t upstream_head_end(const char *p, size_t n)
{
    const char *at = p, *newline;
    while ((newline = memchr(at, '\n', n - (size_t)(at - p))) != NULL) {
        size_t line = (size_t)(newline - at);
        at = newline + 1;
        if (line == 0 || (line == 1 && newline[-1] == '\r')) {
            return (size_t)(at - p);
        }
    }
    return 0;
}

static bool take_status(struct upstream_head *out, struct str value)
{
    uint64_t status;
    struct str number = {value.p, value.n < 3 ? value.n : 3};
    if (number.n < 3 || !str_to_u64(number, &status) || status < 100 || status > 999 ||
        (value.n > 3 && value.p[3] != ' ')) {
        return false;
    }
    out->status = (int)status;
    out->reason = value;
    return true;
}

static bool take_line(struct upstream_head *out, struct str line, bool ours)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (out->count == UPSTREAM_LINES) {
        return ours; /* it is too large without this one */
    }
    if (!colon && !ours) {
        return false;
    }
    struct str name = {line.p, colon ? (size_t)(colon - line.p) : line.n};
    struct str value = colon ? str_trim((struct str){colon + 1, line.n - name.n - 1}) : STR_NONE;
    if (!ours && (!h1_parse_token(name) || !wire_value_ok(value))) {
        return false;
    }
    if (str_ieq(name, STR("Status"))) {
        if (take_status(out, value)) {
            return true;
        }
        if (!ours) {
            return false;
        }
    }
    if (str_ieq(name, STR("Location")) && !out->reason.p) {
        out->status = 302;
    }
    out->lines[out->count++] = (struct header_line){line.p, (uint32_t)line.n, (uint32_t)name.n};
    return true;
}

bool upstream_head_parse(const char *p, size_t n, bool ours, struct upstream_head *out)
{
    struct str rest = {p, n}, line;
    out->status = 200;
    out->reason = STR_NONE;
    out->count = 0;
    while (rest.p && str_split(&rest, '\n', &line)) {
        if (line.n && line.p[line.n - 1] == '\r') {
            line.n--;
        }
        if (line.n == 0) {
            break;
        }
        if (!take_line(out, line, ours)) {
            return false;
        }
    }
    return out->status >= 200 || (ours && out->status != 101);
}
