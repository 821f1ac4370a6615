/* Request ids and W3C Trace Context. Random bits come from the kernel in pages, one page a thread, so that an
 * id costs a system call once in a hundred requests. */
#include "engine/work/trace.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define TRACEPARENT_N      55
#define TRACESTATE_MEMBERS 32
#define RANDOM_PAGE        4096

static _Thread_local struct {
    unsigned char bytes[RANDOM_PAGE];
    size_t left;
} pool;

static void random_bytes(unsigned char *out, size_t n)
{
    if (pool.left < n) {
        if (getrandom(pool.bytes, sizeof(pool.bytes), 0) != (ssize_t)sizeof(pool.bytes)) {
            /* Only before the kernel's generator is seeded: ids need to differ, not to be secret. */
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            for (size_t i = 0; i < sizeof(pool.bytes); i++) {
                pool.bytes[i] = (unsigned char)((now.tv_nsec >> (i % 24)) ^ (i * 31));
            }
        }
        pool.left = sizeof(pool.bytes);
    }
    pool.left -= n;
    memcpy(out, pool.bytes + pool.left, n);
}

static void random_hex(char *out, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[16];
    random_bytes(raw, bytes);
    raw[0] |= 1; /* an id of zeroes alone means "none" */
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = digits[raw[i] >> 4];
        out[2 * i + 1] = digits[raw[i] & 15];
    }
    out[2 * bytes] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* upper case is not allowed */
}

static bool all_hex(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (hex_value(p[i]) < 0) {
            return false;
        }
    }
    return true;
}

static bool all_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '0') {
            return false;
        }
    }
    return true;
}

/* version "-" trace-id "-" parent-id "-" flags; a later version may go on after a further "-". */
bool trace_parse_parent(struct str v, struct request_trace *out)
{
    if (v.n < TRACEPARENT_N || !all_hex(v.p, 2) || v.p[2] != '-' || v.p[35] != '-' || v.p[52] != '-') {
        return false;
    }
    bool version_0 = v.p[0] == '0' && v.p[1] == '0';
    if ((v.p[0] == 'f' && v.p[1] == 'f') || (version_0 && v.n != TRACEPARENT_N)) {
        return false;
    }
    if (v.n > TRACEPARENT_N && v.p[TRACEPARENT_N] != '-') {
        return false;
    }
    if (!all_hex(v.p + 3, 32) || !all_hex(v.p + 36, 16) || !all_hex(v.p + 53, 2)) {
        return false;
    }
    if (all_zero(v.p + 3, 32) || all_zero(v.p + 36, 16)) {
        return false;
    }
    memcpy(out->trace_id, v.p + 3, 32);
    out->trace_id[32] = '\0';
    memcpy(out->parent_id, v.p + 36, 16);
    out->parent_id[16] = '\0';
    out->sampled = hex_value(v.p[54]) & 1;
    return true;
}

static bool key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/';
}

/* simple-key = lcalpha 0*255(...); multi-tenant-key = tenant-id "@" system-id, of up to 241 and 14
 * characters. */
static bool key_valid(struct str key)
{
    const char *at = memchr(key.p, '@', key.n);
    size_t tenant = at ? (size_t)(at - key.p) : 0;
    struct str first = at ? (struct str){at + 1, key.n - tenant - 1} : key;
    if (first.n == 0 || first.n > (at ? 14U : 256U) || first.p[0] < 'a' || first.p[0] > 'z') {
        return false;
    }
    if (at && (tenant == 0 || tenant > 241 || key.p[0] == '_' || key.p[0] == '-' || key.p[0] == '*' ||
               key.p[0] == '/')) {
        return false;
    }
    for (size_t i = 0; i < key.n; i++) {
        if (!key_char(key.p[i]) && key.p + i != at) {
            return false;
        }
    }
    return true;
}

static bool value_valid(struct str value)
{
    if (value.n == 0 || value.n > 256 || value.p[value.n - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < 0x20 || value.p[i] > 0x7e || value.p[i] == ',' || value.p[i] == '=') {
            return false;
        }
    }
    return true;
}

bool trace_state_valid(struct str state)
{
    struct str keys[TRACESTATE_MEMBERS];
    size_t count = 0;
    struct str member;
    while (str_split(&state, ',', &member)) {
        member = str_trim(member);
        if (member.n == 0) {
            continue;
        }
        const char *equals = memchr(member.p, '=', member.n);
        if (!equals || count == TRACESTATE_MEMBERS) {
            return false;
        }
        struct str key = {member.p, (size_t)(equals - member.p)};
        if (!key_valid(key) || !value_valid((struct str){equals + 1, member.n - key.n - 1})) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            if (str_eq(keys[i], key)) {
                return false;
            }
        }
        keys[count++] = key;
    }
    return count > 0;
}

static bool request_id_valid(struct str id)
{
    if (id.n == 0 || id.n >= sizeof(((struct request_trace *)NULL)->id)) {
        return false;
    }
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!word && !memchr("._~:+/=@-", c, 9)) {
            return false;
        }
    }
    return true;
}

void trace_begin(struct request_trace *out, struct str request_id, struct str traceparent,
                 struct str tracestate)
{
    out->parent_id[0] = '\0';
    out->state = STR_NONE;
    out->sampled = false;
    if (traceparent.n != 0 && trace_parse_parent(traceparent, out)) {
        if (tracestate.n != 0 && trace_state_valid(tracestate)) {
            out->state = tracestate;
        }
    } else {
        random_hex(out->trace_id, 16);
    }
    random_hex(out->span_id, 8);
    if (request_id_valid(request_id)) {
        memcpy(out->id, request_id.p, request_id.n);
        out->id[request_id.n] = '\0';
    } else {
        random_hex(out->id, 16);
    }
}

void trace_format(const struct request_trace *trace, char out[TRACEPARENT_SIZE])
{
    memcpy(out, "00-", 3);
    memcpy(out + 3, trace->trace_id, 32);
    out[35] = '-';
    memcpy(out + 36, trace->span_id, 16);
    memcpy(out + 52, trace->sampled ? "-01" : "-00", 4);
}
