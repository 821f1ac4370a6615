/* W3C Trace Context, level 1: what is continued, what starts a new trace, what is passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/telemetry/trace.h"

#define T "4bf92f3577b34da6a3ce929d0e0e4736"
#define S "00f067aa0ba902b7"

static const struct {
    const char *value;
    bool valid;
} parents[] = {
    {"00-" T "-" S "-01", true},
    {"00-" T "-" S "-00", true},
    {"00-" T "-" S "-ff", true},
    {"cc-" T "-" S "-01", true},                 /* a later version, same length */
    {"cc-" T "-" S "-01-what-comes-next", true}, /* a later version, longer */
    {"cc-" T "-" S "-01.what", false},
    {"00-" T "-" S "-01-what", false}, /* version 0 has exactly 55 characters */
    {"00-" T "-" S "-01.", false},
    {"ff-" T "-" S "-01", false},
    {"00-00000000000000000000000000000000-" S "-01", false},
    {"00-" T "-0000000000000000-01", false},
    {"00-4BF92F3577B34DA6A3CE929D0E0E4736-" S "-01", false},
    {"00-" T "-00F067AA0BA902B7-01", false},
    {"00-" T "-" S "-0", false},
    {"00-" T "-" S "-0G", false},
    {"00-" T "-" S, false},
    {"00-" T S "-01", false},
    {"0-" T "-" S "-01", false},
    {".0-" T "-" S "-01", false},
    {"00_" T "_" S "_01", false},
    {"", false},
};

static void test_parents(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]); i++) {
        struct request_trace trace;
        if (trace_parse_parent(str_of(parents[i].value), &trace) != parents[i].valid) {
            fail_msg("traceparent \"%s\" should be %s", parents[i].value,
                     parents[i].valid ? "valid" : "invalid");
        }
    }
}

static void test_every_truncation_and_flip(void **state)
{
    (void)state;
    const char good[] = "00-" T "-" S "-01";
    struct request_trace trace;
    for (size_t n = 0; n < sizeof(good) - 1; n++) {
        assert_false(trace_parse_parent((struct str){good, n}, &trace));
    }
    for (size_t i = 0; i < (sizeof(good) - 1) * 8; i++) {
        char flipped[sizeof(good)];
        memcpy(flipped, good, sizeof(good));
        flipped[i / 8] ^= (char)(1 << (i % 8));
        if (trace_parse_parent((struct str){flipped, sizeof(good) - 1}, &trace)) {
            assert_int_equal(strlen(trace.trace_id), 32);
            assert_int_equal(strspn(trace.trace_id, "0123456789abcdef"), 32);
        }
    }
}

static void check_state(const char *value, bool valid)
{
    if (trace_state_valid(str_of(value)) != valid) {
        fail_msg("tracestate \"%s\" should be %s", value, valid ? "valid" : "invalid");
    }
}

static void test_states(void **state)
{
    (void)state;
    check_state("foo=1", true);
    check_state("foo=1,bar=2", true);
    check_state("foo=1 , bar=2", true);
    check_state("foo=1,,bar=2,", true);
    check_state("foo=1,foo=2", false);
    check_state("foo =1", false);
    check_state("FOO=1", false);
    check_state("foo@=1,bar=2", false);
    check_state("@foo=1", false);
    check_state("foo@@bar=1", false);
    check_state("foo@bar@baz=1", false);
    check_state("0tenant@sys=1", true);
    check_state("0simple=1", false);
    check_state("foo=", false);
    check_state("foo=a=b", false);
    check_state("foo", false);
    check_state("foo=\x7f", false);
    check_state("", false);
    check_state("z_-*/9=!~ x", true);
}

static void test_state_limits(void **state)
{
    (void)state;
    char text[4096];
    size_t n = 0;
    for (int i = 0; i < 32; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%sk%d=1", i ? "," : "", i);
    }
    check_state(text, true);
    snprintf(text + n, sizeof(text) - n, ",k32=1");
    check_state(text, false);

    char key[300];
    memset(key, 'k', sizeof(key));
    memcpy(key + 256, "=1", 3);
    check_state(key, true);
    memset(key, 'k', 257);
    memcpy(key + 257, "=1", 3);
    check_state(key, false);

    memcpy(key, "a=", 2);
    memset(key + 2, 'v', 256);
    key[258] = '\0';
    check_state(key, true);
    key[258] = 'v';
    key[259] = '\0';
    check_state(key, false);
}

static void test_begin_continues(void **state)
{
    (void)state;
    struct request_trace trace;
    trace_begin(&trace, STR("my-id"), STR("00-" T "-" S "-03"), STR("a=1"));
    assert_string_equal(trace.id, "my-id");
    assert_string_equal(trace.trace_id, T);
    assert_string_equal(trace.parent_id, S);
    assert_string_not_equal(trace.span_id, S);
    assert_true(str_eq(trace.state, STR("a=1")));
    char out[TRACEPARENT_SIZE];
    trace_format(&trace, out);
    assert_int_equal(strlen(out), TRACEPARENT_SIZE - 1);
    assert_string_equal(out + 52, "-01"); /* flags that version 0 does not know are not passed on */
    struct request_trace again;
    assert_true(trace_parse_parent(str_of(out), &again));
}

static void test_begin_starts(void **state)
{
    (void)state;
    struct request_trace a, b;
    trace_begin(&a, STR("bad id with blanks"), STR("garbage"), STR("a=1"));
    trace_begin(&b, STR_NONE, STR_NONE, STR_NONE);
    assert_int_equal(strlen(a.id), 32);
    assert_int_equal(strlen(a.trace_id), 32);
    assert_int_equal(strlen(a.span_id), 16);
    assert_string_equal(a.parent_id, "");
    assert_int_equal(a.state.n, 0);
    assert_string_not_equal(a.trace_id, b.trace_id);
    assert_string_not_equal(a.id, b.id);
}

/* Random ids use all sixteen digits at every place, and none comes twice. */
static void test_random_ids(void **state)
{
    (void)state;
    enum { IDS = 2000 };
    static struct request_trace traces[IDS];
    unsigned seen[32] = {0};
    for (int i = 0; i < IDS; i++) {
        trace_begin(&traces[i], STR_NONE, STR_NONE, STR_NONE);
        assert_int_equal(strspn(traces[i].id, "0123456789abcdef"), 32);
        assert_int_equal(strspn(traces[i].trace_id, "0123456789abcdef"), 32);
        assert_int_equal(strspn(traces[i].span_id, "0123456789abcdef"), 16);
        for (int at = 0; at < 32; at++) {
            char digit[] = {traces[i].trace_id[at], '\0'};
            seen[at] |= 1U << strtoul(digit, NULL, 16);
        }
        for (int other = 0; other < i; other++) {
            assert_memory_not_equal(traces[i].span_id, traces[other].span_id, 16);
        }
    }
    for (int at = 0; at < 32; at++) {
        /* one bit of each eight bytes is always set, so that no id is all zeroes */
        assert_int_equal(seen[at], at % 16 == 0 ? 0xaaaa : 0xffff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parents),         cmocka_unit_test(test_every_truncation_and_flip),
        cmocka_unit_test(test_states),          cmocka_unit_test(test_state_limits),
        cmocka_unit_test(test_begin_continues), cmocka_unit_test(test_begin_starts),
        cmocka_unit_test(test_random_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
