/* JSON and combined access log lines. Every text of a client is escaped and bounded, so that a line always
 * fits and is one line, whatever a client sends. */
#include "engine/telemetry/access_line.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/encoding.h"

/* What a text may take of the line, escaped. Together with names and numbers less than ACCESS_LINE_MAX. */
#define PATH_MAX_BYTES  2500
#define QUERY_MAX_BYTES 2500
#define FIELD_MAX_BYTES 1200
#define WORD_MAX_BYTES  300

/* All of these write at `to`, where there is room, and return where the next byte goes. */

static inline char *add(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    return to + n;
}

#define LITERAL(to, text) add(to, text, sizeof(text) - 1)

#define DECIMAL_MAX 20

static char *decimal(char *to, uint64_t value)
{
    char digits[2 * DECIMAL_MAX] = {0}, *end = digits + DECIMAL_MAX, *at = end;

    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(to, at, DECIMAL_MAX); /* of a fixed length it is no call; zeroes behind the number do not matter */
    return to + (end - at);
}

/* ".042": thousandths. */
static char *thousandths(char *to, unsigned value)
{
    to[0] = '.';
    to[1] = (char)('0' + value / 100 % 10);
    to[2] = (char)('0' + value / 10 % 10);
    to[3] = (char)('0' + value % 10);
    return to + 4;
}

static char *hex_byte(char *to, const char digits[16], unsigned char c)
{
    to[0] = digits[c >> 4];
    to[1] = digits[c & 15];
    return to + 2;
}

/* -- texts of clients -- */

/* Printable ASCII without quote and backslash: it stands for itself in every form. */
static const bool plain[256] = {
    [0x20 ... '"' - 1] = true, ['"' + 1 ... '\\' - 1] = true, ['\\' + 1 ... 0x7e] = true};

/* Eight characters at once. A borrow or carry can make a plain one look odd, never the other way round. */
static bool all_plain(uint64_t word)
{
    const uint64_t ones = ~UINT64_C(0) / 255, tops = ones * 0x80;
    uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
    uint64_t odd = (word - ones * 0x20) | (quote - ones) | (slash - ones) | (word + ones) | word;

    return (odd & tops) == 0;
}

static bool copy_word(char *to, const char *from)
{
    uint64_t word;

    memcpy(&word, from, sizeof(word));
    memcpy(to, &word, sizeof(word));
    return all_plain(word);
}

/* How many bytes are plain, up to the first that is not; they are copied, what is behind them in the n bytes
 * at `to` is anything. */
static inline size_t copy_plain(char *to, const char *from, size_t n)
{
    const size_t step = sizeof(uint64_t);
    size_t at = 0;

    while (n - at >= step && copy_word(to + at, from + at)) {
        at += step;
    }
    /* the last bytes once more, with those before them */
    if (n - at < step && n >= step && copy_word(to + n - step, from + n - step)) {
        return n;
    }
    for (; at < n && plain[(unsigned char)from[at]]; at++) {
        to[at] = from[at];
    }
    return at;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Writes the character at p that is not plain, of the n bytes that are there; *used: how many it has. */
typedef char *escape_fn(char *to, const char *p, size_t n, size_t *used);
#define ESCAPE_MAX 6 /* bytes that one becomes */

/* UTF-8 stays; what is neither UTF-8 nor ASCII becomes U+FFFD. */
static char *escape_json(char *to, const char *p, size_t n, size_t *used)
{
    const unsigned char *c = (const unsigned char *)p;
    size_t length = utf8_length(c, n);
    char scratch[8];

    *used = length ? length : 1;
    if (*c >= 0x80) {
        return length ? add(to, p, length) : LITERAL(to, UTF8_REPLACEMENT);
    }
    const char *escaped = json_escape(*c, scratch);

    return escaped ? add(to, escaped, strlen(escaped)) : add(to, p, 1);
}

/* \xHH, as analysers of the combined form expect. */
static char *escape_plain(char *to, const char *p, size_t n, size_t *used)
{
    (void)n;
    *used = 1;
    return hex_byte(LITERAL(to, "\\x"), "0123456789ABCDEF", (unsigned char)*p);
}

/* What a text is from its first byte on that is not plain. `end`: nothing begins there. */
static __attribute__((noinline)) char *escape_rest(char *to, const char *end, struct str s, escape_fn *escape)
{
    for (size_t at = 0, used; at < s.n && to < end; at += used) {
        used = copy_plain(to, s.p + at, smaller(s.n - at, (size_t)(end - to)));
        to = used > 0 ? to + used : escape(to, s.p + at, s.n - at, &used);
    }
    return to;
}

/* At most `limit` bytes. Nearly all texts are plain. */
static inline char *add_text(char *to, struct str s, size_t limit, escape_fn *escape)
{
    size_t room = limit - ESCAPE_MAX;
    size_t n = copy_plain(to, s.p, smaller(s.n, room));

    return n == s.n ? to + n : escape_rest(to + n, to + room, (struct str){s.p + n, s.n - n}, escape);
}

/* What lines are made of beyond the request's own fields; one walk over the parameters, of which the
 * last of a name counts. NULL: it is not there. */
struct sources {
    const struct param *uri, *protocol, *host, *agent, *referer, *forwarded, *tls;
};

/* By length first: most parameters are none of these. A comparison of a fixed length is some instructions. */
#define IS(p, text) (memcmp((p)->name, text, sizeof(text) - 1) == 0)

static inline void take_source(struct sources *s, const struct param *p)
{
    switch (p->name_len) {
    case sizeof("HTTP_HOST") - 1:
        if (IS(p, "HTTP_HOST")) {
            s->host = p;
        }
        break;
    case sizeof("REQUEST_URI") - 1:
        if (IS(p, "REQUEST_URI")) {
            s->uri = p;
        }
        break;
    case sizeof("HTTP_REFERER") - 1: /* SSL_PROTOCOL has the same length */
        if (IS(p, "HTTP_REFERER")) {
            s->referer = p;
        } else if (IS(p, "SSL_PROTOCOL")) {
            s->tls = p;
        }
        break;
    case sizeof("HTTP_USER_AGENT") - 1: /* and SERVER_PROTOCOL */
        if (IS(p, "HTTP_USER_AGENT")) {
            s->agent = p;
        } else if (IS(p, "SERVER_PROTOCOL")) {
            s->protocol = p;
        }
        break;
    case sizeof("HTTP_X_FORWARDED_FOR") - 1:
        if (IS(p, "HTTP_X_FORWARDED_FOR")) {
            s->forwarded = p;
        }
        break;
    default: break;
    }
}

static void find_sources(const struct request *r, struct sources *s)
{
    const struct param *end = r->params + r->param_count;

    *s = (struct sources){0};
    for (const struct param *p = r->params; p < end; p++) {
        take_source(s, p);
    }
}

static inline struct str text_of(const struct param *p)
{
    return p ? (struct str){p->value, p->value_len} : STR_NONE;
}

static struct str path_of(const struct request *r, const struct sources *from)
{
    struct str uri = from->uri ? text_of(from->uri) : str_of(r->uri);
    const char *question = uri.n ? memchr(uri.p, '?', uri.n) : NULL;

    return question ? (struct str){uri.p, (size_t)(question - uri.p)} : uri;
}

static struct str protocol_of(const struct request *r, const struct sources *from)
{
    return from->protocol     ? text_of(from->protocol)
           : r->proto == 2000 ? STR("HTTP/2.0")
           : r->proto == 1001 ? STR("HTTP/1.1")
           : r->proto == 1000 ? STR("HTTP/1.0")
                              : STR_NONE;
}

/* -- JSON -- */

static inline char *json_value(char *to, struct str value, size_t limit)
{
    if (!value.p || value.n == 0) {
        return LITERAL(to, "null");
    }
    return LITERAL(add_text(LITERAL(to, "\""), value, limit, escape_json), "\"");
}

size_t access_line_service(const char *name, char out[ACCESS_LINE_SERVICE])
{
    return (size_t)(json_value(out, str_of(name), WORD_MAX_BYTES) - out);
}

#define json_field(to, name, value, limit) json_value(LITERAL(to, name), value, limit)

/* gmtime and strftime once a second and thread. */
static char *timestamp(char *to)
{
    static _Thread_local time_t kept_second;
    static _Thread_local char kept[32] = "1970-01-01T00:00:00";
    uint64_t wall = clock_wall_us();
    time_t second = (time_t)(wall / CLOCK_US_PER_SECOND);

    if (second != kept_second) {
        struct tm tm;

        gmtime_r(&second, &tm);
        strftime(kept, sizeof(kept), "%Y-%m-%dT%H:%M:%S", &tm);
        kept_second = second;
    }
    to = add(to, kept, sizeof("1970-01-01T00:00:00") - 1);
    return thousandths(to, (unsigned)(wall % CLOCK_US_PER_SECOND / 1000));
}

/* Ids have no character that would need an escape: they are checked or our own. */
static char *json_ids(char *to, const struct request_trace *trace)
{
    to = LITERAL(to, ",\"request_id\":\"");
    to = add(to, trace->id, strlen(trace->id));
    to = LITERAL(to, "\",\"trace_id\":\"");
    to = add(to, trace->trace_id, sizeof(trace->trace_id) - 1);
    to = LITERAL(to, "\",\"span_id\":\"");
    return add(to, trace->span_id, sizeof(trace->span_id) - 1);
}

static char *milliseconds(char *to, uint64_t us)
{
    return thousandths(decimal(to, us / 1000), (unsigned)(us % 1000));
}

/* Who ran it, where that was another process, and how long its answer took. */
static char *json_upstream(char *to, const struct request *r, const struct access_facts *facts)
{
    if (!r->upstream) {
        return LITERAL(to, ",\"upstream\":null,\"upstream_ms\":null");
    }
    to = json_field(to, ",\"upstream\":", str_of(r->upstream), WORD_MAX_BYTES);
    return milliseconds(LITERAL(to, ",\"upstream_ms\":"), facts->upstream_us);
}

static char *json_data(char *to, const struct request *r, const struct sources *from, struct str path,
                       const struct access_facts *facts)
{
    to = json_field(to, "\"},\"data\":{\"host\":", text_of(from->host), WORD_MAX_BYTES);
    to = json_field(to, ",\"method\":", str_of(r->method), WORD_MAX_BYTES);
    to = json_field(to, ",\"path\":", path, PATH_MAX_BYTES);
    to = json_field(to, ",\"query\":", str_of(r->query), QUERY_MAX_BYTES);
    to = json_field(to, ",\"http\":", protocol_of(r, from), WORD_MAX_BYTES);
    to = decimal(LITERAL(to, ",\"status\":"), (unsigned)r->status);
    to = decimal(LITERAL(to, ",\"bytes\":"), r->body_sent);
    to = milliseconds(LITERAL(to, ",\"duration_ms\":"), facts->duration_us);
    to = json_upstream(to, r, facts);
    to = json_field(to, ",\"ip\":", str_of(r->remote_ip), WORD_MAX_BYTES);
    to = json_field(to, ",\"ua\":", text_of(from->agent), FIELD_MAX_BYTES);
    to = json_field(to, ",\"referer\":", text_of(from->referer), FIELD_MAX_BYTES);
    to = json_field(to, ",\"xff\":", text_of(from->forwarded), FIELD_MAX_BYTES);
    return json_field(to, ",\"tls\":", text_of(from->tls), WORD_MAX_BYTES);
}

size_t access_line_json(struct request *r, const struct access_facts *facts, struct str service, char *out)
{
    struct sources from;
    char *to = out;

    find_sources(r, &from);
    const struct str path = path_of(r, &from);

    request_identify_once(r);
    to = timestamp(LITERAL(to, "{\"ts\":\""));
    to = LITERAL(to, "Z\",\"level\":\"info\",\"type\":\"access\",\"msg\":\"");
    to = add_text(to, str_of(r->method ? r->method : "-"), WORD_MAX_BYTES, escape_json);
    to = add_text(LITERAL(to, " "), path, WORD_MAX_BYTES, escape_json);
    to = decimal(LITERAL(to, " "), (unsigned)r->status);
    to = LITERAL(to, "\",\"ctx\":{\"service\":");
    to = json_ids(add(to, service.p, service.n), &r->trace);
    to = json_data(to, r, &from, path, facts);
    return (size_t)(LITERAL(to, "}}\n") - out);
}

/* -- combined -- */

static char *or_dash(char *to, struct str s, size_t limit)
{
    return s.p && s.n ? add_text(to, s, limit, escape_plain) : LITERAL(to, "-");
}

static char *common_time(char *to, uint64_t duration_us)
{
    static _Thread_local time_t kept_second;
    static _Thread_local char kept[40];
    static _Thread_local size_t kept_n;
    time_t second = (time_t)((clock_wall_us() - duration_us) / CLOCK_US_PER_SECOND);

    if (second != kept_second) {
        struct tm tm;

        localtime_r(&second, &tm);
        kept_n = strftime(kept, sizeof(kept), "[%d/%b/%Y:%H:%M:%S %z]", &tm);
        kept_second = second;
    }
    return add(to, kept, kept_n);
}

size_t access_line_combined(const struct request *r, const struct access_facts *facts, char *out)
{
    struct sources from;
    char *to = out;

    find_sources(r, &from);
    const struct str path = path_of(r, &from);

    to = or_dash(to, str_of(r->remote_ip), WORD_MAX_BYTES);
    to = or_dash(LITERAL(to, " - "), str_of(r->auth_user), WORD_MAX_BYTES);
    to = common_time(LITERAL(to, " "), facts->duration_us);
    to = or_dash(LITERAL(to, " \""), str_of(r->method), WORD_MAX_BYTES);
    to = or_dash(LITERAL(to, " "), path, PATH_MAX_BYTES);
    if (r->query && *r->query) {
        to = add_text(LITERAL(to, "?"), str_of(r->query), QUERY_MAX_BYTES, escape_plain);
    }
    to = or_dash(LITERAL(to, " "), protocol_of(r, &from), WORD_MAX_BYTES);
    to = decimal(LITERAL(to, "\" "), (unsigned)r->status);
    to = decimal(LITERAL(to, " "), r->body_sent);
    to = or_dash(LITERAL(to, " \""), text_of(from.referer), FIELD_MAX_BYTES);
    to = or_dash(LITERAL(to, "\" \""), text_of(from.agent), FIELD_MAX_BYTES);
    return (size_t)(LITERAL(to, "\"\n") - out);
}
