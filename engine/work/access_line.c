/* JSON and combined access log lines. Every text of a client is escaped and bounded, so that a line always
 * fits and is one line, whatever a client sends. */
#include "engine/work/access_line.h"

#include <stdarg.h>
#include <stdio.h>
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

static void number(struct out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void number(struct out *o, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(o->p + o->n, 64, format, args);
    va_end(args);
    o->n += n < 64 ? (size_t)n : 63;
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
    default: number(o, "\\u%04x", c);
    }
}

/* The inside of a JSON string, of at most `limit` bytes. */
static void json_text(struct out *o, struct str s, size_t limit)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t end = o->n + limit - 6; /* the longest that one character becomes */

    for (size_t i = 0; i < s.n && o->n < end;) {
        size_t length = 1;

        if (p[i] >= 0x80) {
            length = sequence(p + i, s.n - i);
            add(o, length ? s.p + i : "\xef\xbf\xbd", length ? length : 3);
            length = length ? length : 1;
        } else if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\' || p[i] == 0x7f) {
            json_char(o, p[i]);
        } else {
            o->p[o->n++] = s.p[i];
        }
        i += length;
    }
}

static struct str param(const struct request *r, struct str name)
{
    const struct param *p = request_param_find(r, name);

    return p ? (struct str){p->value, p->value_len} : STR_NONE;
}

/* The path as it was asked for. */
static struct str path_of(const struct request *r)
{
    struct str uri = param(r, STR("REQUEST_URI"));

    uri = uri.p ? uri : str_of(r->uri);
    const char *question = uri.n ? memchr(uri.p, '?', uri.n) : NULL;

    return question ? (struct str){uri.p, (size_t)(question - uri.p)} : uri;
}

static struct str protocol_of(const struct request *r)
{
    struct str given = param(r, STR("SERVER_PROTOCOL"));

    return given.p            ? given
           : r->proto == 2000 ? STR("HTTP/2.0")
           : r->proto == 1001 ? STR("HTTP/1.1")
           : r->proto == 1000 ? STR("HTTP/1.0")
                              : STR_NONE;
}

/* -- JSON ---------------------------------------------------------------------------------------------- */

static void json_field(struct out *o, const char *name, struct str value, size_t limit)
{
    add(o, name, strlen(name));
    if (!value.p || value.n == 0) {
        LITERAL(o, "null");
        return;
    }
    LITERAL(o, "\"");
    json_text(o, value, limit);
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
    number(o, ".%03uZ", (unsigned)(wall % CLOCK_US_PER_SECOND / 1000));
}

static void json_data(struct out *o, const struct request *r, const struct access_facts *facts)
{
    json_field(o, "},\"data\":{\"method\":", str_of(r->method), WORD_MAX_BYTES);
    json_field(o, ",\"path\":", path_of(r), PATH_MAX_BYTES);
    json_field(o, ",\"query\":", str_of(r->query), QUERY_MAX_BYTES);
    json_field(o, ",\"http\":", protocol_of(r), WORD_MAX_BYTES);
    number(o, ",\"status\":%d,\"bytes\":%llu", r->status, (unsigned long long)r->body_sent);
    number(o, ",\"duration_ms\":%llu.%03u", (unsigned long long)(facts->duration_us / 1000),
           (unsigned)(facts->duration_us % 1000));
    json_field(o, ",\"ip\":", str_of(r->remote_ip), WORD_MAX_BYTES);
    json_field(o, ",\"ua\":", param(r, STR("HTTP_USER_AGENT")), FIELD_MAX_BYTES);
    json_field(o, ",\"referer\":", param(r, STR("HTTP_REFERER")), FIELD_MAX_BYTES);
    json_field(o, ",\"xff\":", param(r, STR("HTTP_X_FORWARDED_FOR")), FIELD_MAX_BYTES);
    json_field(o, ",\"tls\":", param(r, STR("SSL_PROTOCOL")), WORD_MAX_BYTES);
}

size_t access_line_json(struct request *r, const struct access_facts *facts, const char *service, char *out)
{
    struct out o = {.p = out};

    request_identify_once(r);
    LITERAL(&o, "{\"ts\":\"");
    timestamp(&o);
    LITERAL(&o, "\",\"level\":\"info\",\"type\":\"access\",\"msg\":\"");
    json_text(&o, str_of(r->method ? r->method : "-"), WORD_MAX_BYTES);
    LITERAL(&o, " ");
    json_text(&o, path_of(r), WORD_MAX_BYTES);
    number(&o, " %d", r->status);
    json_field(&o, "\",\"ctx\":{\"service\":", str_of(service), WORD_MAX_BYTES);
    json_field(&o, ",\"request_id\":", str_of(r->trace.id), WORD_MAX_BYTES);
    json_field(&o, ",\"trace_id\":", str_of(r->trace.trace_id), WORD_MAX_BYTES);
    json_field(&o, ",\"span_id\":", str_of(r->trace.span_id), WORD_MAX_BYTES);
    json_data(&o, r, facts);
    LITERAL(&o, "}}\n");
    return o.n;
}

/* -- combined ------------------------------------------------------------------------------------------ */

/* Quotes, backslashes and what is not printable become \xHH, as the analysers expect. */
static void plain_text(struct out *o, struct str s, size_t limit)
{
    size_t end = o->n + limit - 4;

    for (size_t i = 0; i < s.n && o->n < end; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
            number(o, "\\x%02X", c);
        } else {
            o->p[o->n++] = s.p[i];
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

    or_dash(&o, str_of(r->remote_ip), WORD_MAX_BYTES);
    LITERAL(&o, " - ");
    or_dash(&o, str_of(r->auth_user), WORD_MAX_BYTES);
    LITERAL(&o, " ");
    common_time(&o, facts->duration_us);
    LITERAL(&o, " \"");
    or_dash(&o, str_of(r->method), WORD_MAX_BYTES);
    LITERAL(&o, " ");
    or_dash(&o, path_of(r), PATH_MAX_BYTES);
    if (r->query && *r->query) {
        LITERAL(&o, "?");
        plain_text(&o, str_of(r->query), QUERY_MAX_BYTES);
    }
    LITERAL(&o, " ");
    or_dash(&o, protocol_of(r), WORD_MAX_BYTES);
    number(&o, "\" %d %llu \"", r->status, (unsigned long long)r->body_sent);
    or_dash(&o, param(r, STR("HTTP_REFERER")), FIELD_MAX_BYTES);
    LITERAL(&o, "\" \"");
    or_dash(&o, param(r, STR("HTTP_USER_AGENT")), FIELD_MAX_BYTES);
    LITERAL(&o, "\"\n");
    return o.n;
}
