/* FastCGI records and CGI heads, as a web server reads and writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/wire/upstream_wire.h"

static void test_begin_and_params(void **state)
{
    (void)state;
    struct buf out = {0}, pairs = {0};
    char value[200];
    memset(value, 'v', sizeof value);
    upstream_wire_begin(&out, true);
    assert_int_equal(out.n, 16);
    assert_memory_equal(out.p, "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0", 16);
    upstream_wire_param(&pairs, STR("NAME"), (struct str){value, sizeof value});
    assert_int_equal(pairs.n, 1 + 4 + 4 + 200);
    assert_memory_equal(pairs.p, "\4\x80\0\0\xc8NAMEv", 10);
    buf_free(&out);
    buf_free(&pairs);
}

static void test_stream_is_cut_into_records(void **state)
{
    (void)state;
    struct buf out = {0};
    size_t n = 2 * FCGI_WIRE_CONTENT_MAX + 3;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, 'b', n);
    upstream_wire_stream(&out, FCGI_WIRE_STDIN, bytes, n);
    assert_int_equal(out.n, 3 * 8 + n + 5); /* the last one padded to eight */
    out.n = 0;
    upstream_wire_stream(&out, FCGI_WIRE_STDIN, NULL, 0);
    assert_int_equal(out.n, 8);
    assert_memory_equal(out.p, "\1\5\0\1\0\0\0\0", 8);
    free(bytes);
    buf_free(&out);
}

/* STDOUT "ab" padded, STDERR "e", an unknown type, STDOUT's end, END_REQUEST. */
static const char answer[] = "\1\6\0\1\0\2\6\0ab\0\0\0\0\0\0"
                             "\1\7\0\1\0\1\0\0e"
                             "\1\x63\0\1\0\3\0\0???"
                             "\1\6\0\1\0\0\0\0"
                             "\1\3\0\1\0\10\0\0\0\0\0\0\0\0\0\0";
#define ANSWER_N (sizeof answer - 1)

/* Feeds the bytes in pieces of `step`; what came out as text: "ab|e|." */
static const char *read_in_steps(const char *bytes, size_t n, size_t step)
{
    static char text[64];
    size_t length = 0;
    struct upstream_records r = {0};
    int status = -1;
    for (size_t at = 0; at < n; at += step) {
        size_t left = n - at < step ? n - at : step;
        const char *p = bytes + at;
        while (left > 0) {
            size_t used;
            struct str data = STR_NONE;
            enum upstream_event event = upstream_records_next(&r, p, left, &used, &data, &status);
            assert_true(used <= left);
            p += used;
            left -= used;
            if (event == UPSTREAM_BAD) {
                return "bad";
            }
            if (event == UPSTREAM_OVER) {
                text[length++] = '.';
            }
            for (size_t i = 0; i < data.n && (event == UPSTREAM_OUT || event == UPSTREAM_ERR); i++) {
                text[length++] = data.p[i];
            }
            assert_true(event != UPSTREAM_MORE || left == 0);
        }
    }
    text[length] = '\0';
    return text;
}

static void test_records_at_every_split(void **state)
{
    (void)state;
    for (size_t step = 1; step <= ANSWER_N; step++) {
        assert_string_equal(read_in_steps(answer, ANSWER_N, step), "abe.");
    }
}

/* No flipped bit may do more than give other bytes or "bad". */
static void test_flipped_bits(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < ANSWER_N * 8; bit++) {
        char copy[sizeof answer];
        memcpy(copy, answer, sizeof answer);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        read_in_steps(copy, ANSWER_N, 7);
    }
    assert_string_equal(read_in_steps("HTTP/1.1 400 Bad", 16, 16), "bad");
}

static struct request_usage usage_of(const char *text)
{
    return upstream_usage_parse(str_of(text));
}

/* What no FastCGI server says, but our own processes do. */
static void test_usage(void **state)
{
    static const char bytes[] = "\1\x40\0\1\0\12\6\0"
                                "12 3 65536\0\0\0\0\0\0";
    (void)state;
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct upstream_records r = {0};
        struct str data = STR_NONE;
        int status, seen = 0;
        for (size_t at = 0, used; at < sizeof bytes - 1; at += used) {
            size_t left = sizeof bytes - 1 - at;
            size_t n = left < step ? left : step;
            if (upstream_records_next(&r, bytes + at, n, &used, &data, &status) == UPSTREAM_USED) {
                struct request_usage usage = upstream_usage_parse(data);
                assert_true(usage.known);
                assert_int_equal(usage.user_us, 12);
                assert_int_equal(usage.system_us, 3);
                assert_int_equal(usage.memory_peak, 65536);
                seen++;
            }
        }
        assert_int_equal(seen, 1);
    }
    assert_false(usage_of("").known);
    assert_false(usage_of("1 2").known);
    assert_false(usage_of("1 x 3").known);
}

static void test_heads(void **state)
{
    (void)state;
    static struct upstream_head head;
    struct str text = STR("Status: 404 Not Here\r\nX-A: 1\r\nSet-Cookie:b=c \r\n\r\nbody");
    size_t end = upstream_head_end(text.p, text.n);
    assert_int_equal(end, text.n - 4);
    assert_true(upstream_head_parse(text.p, end, false, &head));
    assert_int_equal(head.status, 404);
    assert_true(str_eq(head.reason, STR("404 Not Here")));
    assert_int_equal(head.count, 2);
    assert_memory_equal(head.lines[0].text, "X-A: 1", head.lines[0].len);
    for (size_t n = 0; n < end; n++) {
        assert_int_equal(upstream_head_end(text.p, n), 0);
    }
    struct str moved = STR("Location: /x\n\n");
    assert_true(upstream_head_parse(moved.p, moved.n, false, &head) && head.status == 302);
}

static void test_bad_heads(void **state)
{
    (void)state;
    static struct upstream_head head;
    static const struct str bad[] = {
        {"no colon\n\n", 10},       {": x\n\n", 5},           {"A b: x\n\n", 8},
        {"A: x\0y\n\n", 8},         {"A: x\ry\n\n", 8},       {"Status: 1\n\n", 11},
        {"Status: 101 Up\n\n", 16}, {"Status: 2000\n\n", 14}, {"A: x\n B: y\n\n", 12},
        {"Status: 099 No\n\n", 16},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(upstream_head_parse(bad[i].p, bad[i].n, false, &head));
    }
    /* Of our own pools' heads a line that is no field is left to reply_head.c; one with a name too few too.
     */
    assert_true(upstream_head_parse(bad[0].p, bad[0].n, true, &head));
    assert_int_equal(head.count, 1);
    assert_int_equal(head.lines[0].name_len, head.lines[0].len);
    assert_true(upstream_head_parse(bad[3].p, bad[3].n, true, &head));
    assert_false(upstream_head_parse(bad[6].p, bad[6].n, true, &head)); /* 101 is no interim answer */
}

static void test_interim_heads(void **state)
{
    (void)state;
    static struct upstream_head head;
    struct str hints = STR("Status: 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_false(upstream_head_parse(hints.p, hints.n, false, &head));
    assert_true(upstream_head_parse(hints.p, hints.n, true, &head));
    assert_int_equal(head.status, 103);
    assert_int_equal(head.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin_and_params),
        cmocka_unit_test(test_stream_is_cut_into_records),
        cmocka_unit_test(test_records_at_every_split),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_interim_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
