/* Request ids and W3C Trace Context. Random bits come from the kernel in pages, one page a thread, so that an
 * id costs a system call once in a hundred requests. */
#include "engine/telemetry/trace.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "engine/base/encoding.h"

#define TRACEPARENT_N      55
#define TRACESTATE_MEMBERS 32
#define RANDOM_PAGE        4096

static _Thread_local struct {
    unsigned char bytes[RANDOM_PAGE];
    size_t left;
} pool;

static uint64_t random_word(void)
{
    uint64_t word;
    if (pool.left < sizeof(word)) {
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
    pool.left -= sizeof(word);
    memcpy(&word, pool.bytes + pool.left, sizeof(word));
    return word;
}

/* Eight hexadecimal digits of eight numbers below 16, one a byte: '0' more, and 'a' - '9' - 1 more for those
 * that 6 carries over 15. */
static uint64_t hex_digits(uint64_t numbers)
{
    const uint64_t ones = ~UINT64_C(0) / 255;
    uint64_t letters = (numbers + ones * 6) >> 4 & ones;
    return numbers + ones * '0' + letters * ('a' - '9' - 1);
}

/* Sixteen random digits. Which half of a byte is written where does not matter. */
static inline void random_hex(char *out)
{
    const uint64_t halves = ~UINT64_C(0) / 255 * 15;
    uint64_t word = random_word() | 1; /* an id of zeroes alone means "none" */
    uint64_t low = hex_digits(word & halves), high = hex_digits(word >> 4 & halves);
    memcpy(out, &low, sizeof(low));
    memcpy(out + sizeof(low), &high, sizeof(high));
}

static void random_id(char out[33])
{
    random_hex(out);
    random_hex(out + 16);
    out[32] = '\0';
}

/* Upper case is not allowed. */
static bool is_hex(char c)
{
    return hex_digit(c) >= 0 && !(c >= 'A' && c <= 'F');
}

static bool all_hex(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_hex(p[i])) {
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
    out->sampled = hex_digit(v.p[54]) & 1;
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
        random_id(out->trace_id);
    }
    random_hex(out->span_id);
    out->span_id[16] = '\0';
    if (request_id_valid(request_id)) {
        memcpy(out->id, request_id.p, request_id.n);
        out->id[request_id.n] = '\0';
    } else {
        random_id(out->id);
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

/* -- a request's -- */

void request_identify(struct request *r, struct str request_id, struct str traceparent, struct str tracestate)
{
    trace_begin(&r->trace, request_id, traceparent, tracestate);
}

static struct str parameter(const struct request *r, struct str name)
{
    const struct param *p = request_param_find(r, name);

    return p ? (struct str){p->value, p->value_len} : STR_NONE;
}

void request_identify_once(struct request *r)
{
    if (!r->trace.id[0]) {
        request_identify(r, parameter(r, STR("HTTP_X_REQUEST_ID")), parameter(r, STR("HTTP_TRACEPARENT")),
                         parameter(r, STR("HTTP_TRACESTATE")));
    }
}

void request_traceparent(const struct request *r, char out[TRACEPARENT_SIZE])
{
    trace_format(&r->trace, out);
}
