/* A steady leak is seen coming; one request that needs much for a moment is not taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/work/memory.h"

#define MB ((uint64_t)1 << 20)

static void test_a_steady_leak_is_seen_coming(void **state)
{
    (void)state;
    struct memory_watch watch = {0};
    uint64_t expected = 0;

    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(memory_expect(&watch, (50 + 5 * i) * MB), (50 + 5 * i) * MB);
    }
    for (unsigned i = 8; i < 30; i++) {
        expected = memory_expect(&watch, (50 + 5 * i) * MB);
        assert_int_equal(expected, (50 + 5 * i + 50) * MB);
    }
    /* It ends, and with the first part that did not grow so does the fear. */
    memory_expect(&watch, 195 * MB);
    expected = memory_expect(&watch, 195 * MB);
    assert_int_equal(expected, 195 * MB);
}

static void test_a_peak_is_no_leak(void **state)
{
    (void)state;
    struct memory_watch watch = {0};

    for (unsigned i = 0; i < 100; i++) {
        uint64_t resident = i % 10 < 3 ? 200 * MB : 60 * MB;
        assert_int_equal(memory_expect(&watch, resident), resident);
    }
}

static void test_growth_in_one_part_alone_is_no_leak(void **state)
{
    (void)state;
    struct memory_watch watch = {0};

    for (unsigned i = 0; i < 20; i++) {
        uint64_t resident = (i < 12 ? 60 : 160) * MB;
        assert_int_equal(memory_expect(&watch, resident), resident);
    }
}

static void test_full_is_below_the_ceiling(void **state)
{
    (void)state;
    struct memory_watch watch = {.limit = 160 * MB, .first = 40 * MB};

    assert_false(memory_is_full(&watch, 149 * MB));
    assert_true(memory_is_full(&watch, 151 * MB));
    watch.first = 130 * MB; /* a fresh process would be full again */
    assert_false(memory_is_full(&watch, 200 * MB));
    watch = (struct memory_watch){.first = 40 * MB};
    assert_false(memory_is_full(&watch, 1000 * MB));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_steady_leak_is_seen_coming),
        cmocka_unit_test(test_full_is_below_the_ceiling),
        cmocka_unit_test(test_a_peak_is_no_leak),
        cmocka_unit_test(test_growth_in_one_part_alone_is_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
