/* What is made of the lines of a profile, for which nobody vouches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/profile_format.h"

static struct buf out;

static int tear_down(void **state)
{
    (void)state;
    buf_free(&out);
    out = (struct buf){0};
    return 0;
}

static void test_each_stack_once(void **state)
{
    (void)state;
    profile_write(STR("cpu;b 2\ncpu;a 1\ncpu;b 3\n"), PROFILE_FOLDED, 99, &out);
    assert_string_equal(out.p, "cpu;a 1\ncpu;b 5\n");
}

static void test_what_is_no_sample(void **state)
{
    (void)state;
    profile_write(STR("\n12\ncpu;a x\ncpu;a -1\n 3\ncpu;last 1"), PROFILE_FOLDED, 99, &out);
    assert_string_equal(out.p, " 3\ncpu;last 1\n");
}

static void test_nothing_for_a_terminal(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        profile_write(STR("cpu;\x1b]0;owned\a 1\ncpu;a\rb 1\ncpu;\x7f 1\ncpu;\xc2\x9b"
                          "2J 1\ncpu;caf\xc3\xa9 7\n"),
                      (enum profile_format)i, 99, &out);
    }
    assert_non_null(memmem(out.p, out.n, "cpu;caf\xc3\xa9 7\n", 12));
    assert_null(memmem(out.p, out.n, "owned", 5));
    assert_null(memmem(out.p, out.n, "\r", 1));
    assert_null(memmem(out.p, out.n, "\x7f", 1));
    assert_null(memmem(out.p, out.n, "2J", 2));
}

static void test_too_many_lines(void **state)
{
    struct buf many = {0};
    (void)state;
    for (unsigned i = 0; i < PROFILE_LINES_MAX; i++) {
        buf_text(&many, "c 1\n");
    }
    profile_write((struct str){many.p, many.n}, PROFILE_FOLDED, 99, &out);
    assert_false(out.failed);
    assert_string_equal(out.p, "c 262144\n");
    buf_text(&many, "\n");
    for (int i = 0; i < 3; i++) {
        struct buf none = {0};
        profile_write((struct str){many.p, many.n}, (enum profile_format)i, 99, &none);
        assert_true(none.failed);
        assert_int_equal(none.n, 0);
    }
    buf_free(&many);
}

static void test_a_limit_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct buf small = {.limit = 10};
        profile_write(STR("cpu;some;function 1\ncpu;some;other 2\n"), (enum profile_format)i, 99, &small);
        assert_true(small.failed);
        buf_free(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_stack_once, tear_down),
        cmocka_unit_test_teardown(test_what_is_no_sample, tear_down),
        cmocka_unit_test_teardown(test_nothing_for_a_terminal, tear_down),
        cmocka_unit_test_teardown(test_too_many_lines, tear_down),
        cmocka_unit_test(test_a_limit_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
