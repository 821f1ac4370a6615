/* FastCGI records and CGI heads. See the header. */
#include "http/wire/upstream_wire.h"

#include <string.h>

#include "http/wire/h1_parse.h"

#define ID 1 /* one request at a time on a connection */

/* -- out -- */

static void add_header(struct buf *out, enum fcgi_wire_type type, size_t content, uint8_t padding)
{
    unsigned char header[FCGI_WIRE_HEADER_SIZE];
    fcgi_wire_put(header, type, ID, content, padding);
    buf_add(out, (const char *)header, sizeof header);
}

void upstream_wire_begin(struct buf *out, bool keep_alive)
{
    const char body[8] = {0, FCGI_WIRE_RESPONDER, keep_alive ? FCGI_WIRE_KEEP_CONN : 0};
    add_header(out, FCGI_WIRE_BEGIN_REQUEST, sizeof body, 0);
    buf_add(out, body, sizeof body);
}

void upstream_wire_param(struct buf *pairs, struct str name, struct str value)
{
    unsigned char lengths[8];
    size_t n = fcgi_wire_put_length(lengths, name.n);
    n += fcgi_wire_put_length(lengths + n, value.n);
    buf_add(pairs, (const char *)lengths, n);
    buf_str(pairs, name);
    buf_add(pairs, value.n ? value.p : "", value.n);
}

void upstream_wire_stream(struct buf *out, enum fcgi_wire_type type, const char *p, size_t n)
{
    static const char zeros[8];
    size_t at = 0;
    do {
        size_t take = n - at < FCGI_WIRE_CONTENT_MAX ? n - at : FCGI_WIRE_CONTENT_MAX;
        uint8_t padding = fcgi_wire_padding(take);
        add_header(out, type, take, padding);
        if (take > 0) {
            buf_add(out, p + at, take);
        }
        buf_add(out, zeros, padding);
        at += take;
    } while (at < n);
}

/* -- in -- */

static void keep(struct upstream_records *r, struct str data)
{
    for (size_t i = 0; i < data.n && r->kept_n < sizeof r->kept; i++) {
        r->kept[r->kept_n++] = data.p[i];
    }
}

static enum upstream_event end_of_record(const struct upstream_records *r, struct str *data, int *status)
{
    switch (r->reader.header.type) {
    case FCGI_WIRE_END_REQUEST:
        *status = r->kept_n >= 8 ? (unsigned char)r->kept[4] : -1;
        return *status < 0 ? UPSTREAM_BAD : UPSTREAM_OVER;
    case FCGI_WIRE_USAGE: *data = (struct str){r->kept, r->kept_n}; return UPSTREAM_USED;
    default: return UPSTREAM_MORE;
    }
}

/* A step inside a record; UPSTREAM_MORE: nothing to tell of it. */
static enum upstream_event step(struct upstream_records *r, enum fcgi_wire_step what, struct str *data,
                                int *status)
{
    uint8_t type = r->reader.header.type;
    switch (what) {
    case FCGI_WIRE_HEADER:
        r->kept_n = 0;
        return r->reader.header.version == FCGI_WIRE_VERSION ? UPSTREAM_MORE : UPSTREAM_BAD;
    case FCGI_WIRE_CONTENT:
        if (type == FCGI_WIRE_STDOUT || type == FCGI_WIRE_STDERR) {
            return type == FCGI_WIRE_STDOUT ? UPSTREAM_OUT : UPSTREAM_ERR;
        }
        keep(r, *data);
        return UPSTREAM_MORE;
    case FCGI_WIRE_END: return end_of_record(r, data, status);
    default: return UPSTREAM_MORE;
    }
}

enum upstream_event upstream_records_next(struct upstream_records *r, const char *p, size_t n, size_t *used,
                                          struct str *data, int *status)
{
    const unsigned char *at = (const unsigned char *)p;
    enum upstream_event event = UPSTREAM_MORE;
    enum fcgi_wire_step what;
    size_t left = n;
    do {
        what = fcgi_wire_read(&r->reader, &at, &left, data);
        event = step(r, what, data, status);
    } while (event == UPSTREAM_MORE && what != FCGI_WIRE_MORE);
    *used = n - left;
    return event;
}

struct request_usage upstream_usage_parse(struct str text)
{
    uint64_t numbers[3];
    struct str word;
    for (int i = 0; i < 3; i++) {
        if (!str_word(&text, &word) || !str_to_u64(word, &numbers[i])) {
            return (struct request_usage){.known = false};
        }
    }
    return (struct request_usage){
        .known = true, .user_us = numbers[0], .system_us = numbers[1], .memory_peak = (size_t)numbers[2]};
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
