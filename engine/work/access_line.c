/* JSON and combined access log lines. Every text of a client is escaped and bounded, so that a line always
 * fits and is one line, whatever a client sends. */
#include "engine/work/access_line.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"

/* What a text may take of the line, escaped. Together with names and numbers less than ACCESS_LINE_MAX. */
#define PATH_MAX_BYTES  2500
#define QUERY_MAX_BYTES 2500
#define FIELD_MAX_BYTES 1200
#define WORD_MAX_BYTES  300

struct out {
    char *p;
    size_t n;
};

static void add(struct out *o, const char *text, size_t n)
{
    memcpy(o->p + o->n, text, n);
    o->n += n;
}

#define LITERAL(o, text) add(o, text, sizeof(text) - 1)

static void decimal(struct out *o, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    add(o, digits + at, sizeof(digits) - at);
}

/* ".042": thousandths. */
static void thousandths(struct out *o, unsigned value)
{
    const char text[] = {'.', (char)('0' + value / 100 % 10), (char)('0' + value / 10 % 10),
                         (char)('0' + value % 10)};

    add(o, text, sizeof(text));
}

static void hex_byte(struct out *o, const char digits[16], unsigned char c)
{
    const char text[] = {digits[c >> 4], digits[c & 15]};

    add(o, text, sizeof(text));
}

/* How many bytes from p on are printable ASCII without quote and backslash, in steps of eight: a look at a
 * word tells of each byte in it whether it is one of the others. */
static size_t plain_length(const char *p, size_t n)
{
    const uint64_t ones = ~UINT64_C(0) / 255, tops = ones * 0x80;
    size_t at = 0;

    for (; n - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, p + at, sizeof(word));
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        uint64_t odd = (word - ones * 0x20) | (quote - ones) | (slash - ones) | (word + ones) | word;

        if (odd & tops) {
            break;
        }
    }
    while (at < n && p[at] >= 0x20 && p[at] < 0x7f && p[at] != '"' && p[at] != '\\') {
        at++;
    }
    return at;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Length of the UTF-8 sequence at p, 0 = it is none. */
static size_t sequence(const unsigned char *p, size_t n)
{
    static const unsigned char least[] = {0, 0, 0x80, 0xa0, 0x90};
    size_t length = p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;

    if (p[0] > 0xf4 || length == 0 || length > n) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool too_long = (p[0] == 0xe0 || p[0] == 0xf0) && p[1] < least[length];
    bool surrogate = p[0] == 0xed && p[1] > 0x9f, beyond = p[0] == 0xf4 && p[1] > 0x8f;

    return too_long || surrogate || beyond ? 0 : length;
}

static void json_char(struct out *o, unsigned char c)
{
    switch (c) {
    case '"': LITERAL(o, "\\\""); break;
    case '\\': LITERAL(o, "\\\\"); break;
    case '\n': LITERAL(o, "\\n"); break;
    case '\r': LITERAL(o, "\\r"); break;
    case '\t': LITERAL(o, "\\t"); break;
    default: LITERAL(o, "\\u00"); hex_byte(o, "0123456789abcdef", c);
    }
}

/* The inside of a JSON string, of at most `limit` bytes. */
static void json_text(struct out *o, struct str s, size_t limit)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t end = o->n + limit - 6; /* the longest that one character becomes */

    for (size_t i = 0; i < s.n && o->n < end;) {
        size_t length = plain_length(s.p + i, smaller(s.n - i, end - o->n));

        if (length > 0) {
            add(o, s.p + i, length);
        } else if (p[i] >= 0x80) {
            length = sequence(p + i, s.n - i);
            add(o, length ? s.p + i : "\xef\xbf\xbd", length ? length : 3);
            length = length ? length : 1;
        } else {
            json_char(o, p[i]);
            length = 1;
        }
        i += length;
    }
}

/* What lines are made of beyond the request's own fields; one walk over the parameters, of which the
 * last of a name counts. */
struct sources {
    struct str uri, protocol, agent, referer, forwarded, tls;
};

/* By length first: most parameters are none of these. A comparison of a fixed length is some instructions. */
#define IS(p, text) (memcmp((p)->name, text, sizeof(text) - 1) == 0)

static void take_source(struct sources *s, const struct param *p)
{
    struct str value = {p->value, p->value_len};

    switch (p->name_len) {
    case sizeof("REQUEST_URI") - 1:
        if (IS(p, "REQUEST_URI")) {
            s->uri = value;
        }
        break;
    case sizeof("HTTP_REFERER") - 1: /* SSL_PROTOCOL has the same length */
        if (IS(p, "HTTP_REFERER")) {
            s->referer = value;
        } else if (IS(p, "SSL_PROTOCOL")) {
            s->tls = value;
        }
        break;
    case sizeof("HTTP_USER_AGENT") - 1: /* and SERVER_PROTOCOL */
        if (IS(p, "HTTP_USER_AGENT")) {
            s->agent = value;
        } else if (IS(p, "SERVER_PROTOCOL")) {
            s->protocol = value;
        }
        break;
    case sizeof("HTTP_X_FORWARDED_FOR") - 1:
        if (IS(p, "HTTP_X_FORWARDED_FOR")) {
            s->forwarded = value;
        }
        break;
    default: break;
    }
}

static struct str own_protocol(const struct request *r)
{
    return r->proto == 2000   ? STR("HTTP/2.0")
           : r->proto == 1001 ? STR("HTTP/1.1")
           : r->proto == 1000 ? STR("HTTP/1.0")
                              : STR_NONE;
}

static struct sources sources_of(const struct request *r)
{
    struct sources s = {0};

    for (size_t i = 0; i < r->param_count; i++) {
        take_source(&s, &r->params[i]);
    }
    s.uri = s.uri.p ? s.uri : str_of(r->uri);
    const char *question = s.uri.n ? memchr(s.uri.p, '?', s.uri.n) : NULL;

    s.uri.n = question ? (size_t)(question - s.uri.p) : s.uri.n;
    s.protocol = s.protocol.p ? s.protocol : own_protocol(r);
    return s;
}

/* -- JSON ---------------------------------------------------------------------------------------------- */

static void json_value(struct out *o, struct str value, size_t limit)
{
    if (!value.p || value.n == 0) {
        LITERAL(o, "null");
        return;
    }
    LITERAL(o, "\"");
    json_text(o, value, limit);
    LITERAL(o, "\"");
}

#define json_field(o, name, value, limit) (LITERAL(o, name), json_value(o, value, limit))

/* Ids have no character that would need an escape: they are checked or our own. */
static void id(struct out *o, const char *text)
{
    LITERAL(o, "\"");
    add(o, text, strlen(text));
    LITERAL(o, "\"");
}

/* gmtime and strftime once a second and thread. */
static void timestamp(struct out *o)
{
    static _Thread_local time_t kept_second;
    static _Thread_local char kept[32];
    uint64_t wall = clock_wall_us();
    time_t second = (time_t)(wall / CLOCK_US_PER_SECOND);

    if (second != kept_second) {
        struct tm tm;

        gmtime_r(&second, &tm);
        strftime(kept, sizeof(kept), "%Y-%m-%dT%H:%M:%S", &tm);
        kept_second = second;
    }
    add(o, kept, strlen(kept));
    thousandths(o, (unsigned)(wall % CLOCK_US_PER_SECOND / 1000));
}

static void json_data(struct out *o, const struct request *r, const struct sources *from,
                      const struct access_facts *facts)
{
    json_field(o, "},\"data\":{\"method\":", str_of(r->method), WORD_MAX_BYTES);
    json_field(o, ",\"path\":", from->uri, PATH_MAX_BYTES);
    json_field(o, ",\"query\":", str_of(r->query), QUERY_MAX_BYTES);
    json_field(o, ",\"http\":", from->protocol, WORD_MAX_BYTES);
    LITERAL(o, ",\"status\":");
    decimal(o, (unsigned)r->status);
    LITERAL(o, ",\"bytes\":");
    decimal(o, r->body_sent);
    LITERAL(o, ",\"duration_ms\":");
    decimal(o, facts->duration_us / 1000);
    thousandths(o, (unsigned)(facts->duration_us % 1000));
    json_field(o, ",\"ip\":", str_of(r->remote_ip), WORD_MAX_BYTES);
    json_field(o, ",\"ua\":", from->agent, FIELD_MAX_BYTES);
    json_field(o, ",\"referer\":", from->referer, FIELD_MAX_BYTES);
    json_field(o, ",\"xff\":", from->forwarded, FIELD_MAX_BYTES);
    json_field(o, ",\"tls\":", from->tls, WORD_MAX_BYTES);
}

size_t access_line_json(struct request *r, const struct access_facts *facts, const char *service, char *out)
{
    struct out o = {.p = out};
    const struct sources from = sources_of(r);

    request_identify_once(r);
    LITERAL(&o, "{\"ts\":\"");
    timestamp(&o);
    LITERAL(&o, "Z\",\"level\":\"info\",\"type\":\"access\",\"msg\":\"");
    json_text(&o, str_of(r->method ? r->method : "-"), WORD_MAX_BYTES);
    LITERAL(&o, " ");
    json_text(&o, from.uri, WORD_MAX_BYTES);
    LITERAL(&o, " ");
    decimal(&o, (unsigned)r->status);
    json_field(&o, "\",\"ctx\":{\"service\":", str_of(service), WORD_MAX_BYTES);
    LITERAL(&o, ",\"request_id\":");
    id(&o, r->trace.id);
    LITERAL(&o, ",\"trace_id\":");
    id(&o, r->trace.trace_id);
    LITERAL(&o, ",\"span_id\":");
    id(&o, r->trace.span_id);
    json_data(&o, r, &from, facts);
    LITERAL(&o, "}}\n");
    return o.n;
}

/* -- combined ------------------------------------------------------------------------------------------ */

/* Quotes, backslashes and what is not printable become \xHH, as the analysers expect. */
static void plain_text(struct out *o, struct str s, size_t limit)
{
    size_t end = o->n + limit - 4;

    for (size_t i = 0; i < s.n && o->n < end;) {
        size_t length = plain_length(s.p + i, smaller(s.n - i, end - o->n));

        add(o, s.p + i, length);
        i += length;
        if (length == 0) {
            LITERAL(o, "\\x");
            hex_byte(o, "0123456789ABCDEF", (unsigned char)s.p[i++]);
        }
    }
}

static void or_dash(struct out *o, struct str s, size_t limit)
{
    if (s.p && s.n) {
        plain_text(o, s, limit);
    } else {
        LITERAL(o, "-");
    }
}

static void common_time(struct out *o, uint64_t duration_us)
{
    static _Thread_local time_t kept_second;
    static _Thread_local char kept[40];
    time_t second = (time_t)((clock_wall_us() - duration_us) / CLOCK_US_PER_SECOND);

    if (second != kept_second) {
        struct tm tm;

        localtime_r(&second, &tm);
        strftime(kept, sizeof(kept), "[%d/%b/%Y:%H:%M:%S %z]", &tm);
        kept_second = second;
    }
    add(o, kept, strlen(kept));
}

size_t access_line_combined(const struct request *r, const struct access_facts *facts, char *out)
{
    struct out o = {.p = out};
    const struct sources from = sources_of(r);

    or_dash(&o, str_of(r->remote_ip), WORD_MAX_BYTES);
    LITERAL(&o, " - ");
    or_dash(&o, str_of(r->auth_user), WORD_MAX_BYTES);
    LITERAL(&o, " ");
    common_time(&o, facts->duration_us);
    LITERAL(&o, " \"");
    or_dash(&o, str_of(r->method), WORD_MAX_BYTES);
    LITERAL(&o, " ");
    or_dash(&o, from.uri, PATH_MAX_BYTES);
    if (r->query && *r->query) {
        LITERAL(&o, "?");
        plain_text(&o, str_of(r->query), QUERY_MAX_BYTES);
    }
    LITERAL(&o, " ");
    or_dash(&o, from.protocol, WORD_MAX_BYTES);
    LITERAL(&o, "\" ");
    decimal(&o, (unsigned)r->status);
    LITERAL(&o, " ");
    decimal(&o, r->body_sent);
    LITERAL(&o, " \"");
    or_dash(&o, from.referer, FIELD_MAX_BYTES);
    LITERAL(&o, "\" \"");
    or_dash(&o, from.agent, FIELD_MAX_BYTES);
    LITERAL(&o, "\"\n");
    return o.n;
}
