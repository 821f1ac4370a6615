/* Answers in files: where they lie, and what one and all of them may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/answer/spool.h"

static struct iovec parts[2] = {{(void *)(uintptr_t) "hello ", 6}, {(void *)(uintptr_t) "world", 5}};

static void pieces_follow_each_other(void **state)
{
    struct spool spool = {0};
    char text[23];
    off_t at;

    (void)state;
    spool_limit(UINT64_MAX);
    assert_true(spool_add(&spool, parts, 2, 11, 22, &at));
    assert_int_equal(at, 0);
    assert_true(spool_add(&spool, parts, 2, 11, 22, &at));
    assert_int_equal(at, 11);
    assert_int_equal(pread(spool_fd(&spool), text, sizeof(text), 0), 22);
    assert_memory_equal(text, "hello worldhello world", 22);
    assert_false(spool_add(&spool, parts + 1, 1, 5, 22, &at)); /* its own bound */
    spool_rewind(&spool);
    assert_true(spool_add(&spool, parts + 1, 1, 5, 22, &at));
    assert_int_equal(at, 0);
    assert_int_equal(pread(spool_fd(&spool), text, 5, 0), 5);
    assert_memory_equal(text, "world", 5);
    spool_free(&spool);
    spool_free(&spool); /* nothing */
}

static void all_of_them_have_so_much(void **state)
{
    struct spool one = {0}, two = {0};
    off_t at;

    (void)state;
    spool_limit(20);
    for (int round = 0; round < 10; round++) {
        assert_true(spool_add(&one, parts, 2, 11, 1000, &at));
        assert_false(spool_add(&two, parts, 2, 11, 1000, &at));
        spool_rewind(&one);
        assert_true(spool_add(&one, parts, 2, 11, 1000, &at)); /* what it has it may use again */
        assert_true(spool_add(&two, parts, 1, 6, 1000, &at));
        spool_free(&one);
        spool_free(&two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_follow_each_other),
                                       cmocka_unit_test(all_of_them_have_so_much)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
