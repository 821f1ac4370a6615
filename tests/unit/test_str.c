/* Text pieces: comparing, trimming, numbers, splitting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/str.h"

static void compares(void **state)
{
    (void)state;
    assert_true(str_eq(STR("abc"), STR("abc")));
    assert_false(str_eq(STR("abc"), STR("ab")));
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_ieq(STR("Content-Type"), STR("content-tYPE")));
    assert_false(str_ieq(STR("[x"), STR("{x"))); /* 0x20 apart, but no letters */
    assert_true(str_ieq(((struct str){"a\0B", 3}), ((struct str){"A\0b", 3})));
    assert_false(str_ieq(((struct str){"a\0B", 3}), ((struct str){"A\0c", 3})));
    assert_true(str_starts(STR("abc"), STR("ab")));
    assert_true(str_starts(STR("abc"), STR_NONE));
    assert_false(str_starts(STR("a"), STR("ab")));
    assert_true(str_ends(STR("index.php"), STR(".php")));
    assert_false(str_ends(STR("php"), STR(".php")));
    assert_true(str_ends(STR_NONE, STR_NONE));
}

static void trims(void **state)
{
    (void)state;
    assert_true(str_eq(str_trim(STR(" \t a b\t ")), STR("a b")));
    assert_int_equal(str_trim(STR(" \t ")).n, 0);
    assert_int_equal(str_trim(STR_NONE).n, 0);
    assert_int_equal(str_of(NULL).n, 0);
}

static void reads_numbers(void **state)
{
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999"};
    uint64_t value;

    (void)state;
    assert_true(str_to_u64(STR("0"), &value) && value == 0);
    assert_true(str_to_u64(STR("007"), &value) && value == 7);
    assert_true(str_to_u64(STR("18446744073709551615"), &value) && value == UINT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(str_to_u64(str_of(bad[i]), &value));
    }
}

static void writes_numbers(void **state)
{
    static const uint64_t numbers[] = {0, 7, 10, 99, 100, 65535, 1000000007, UINT64_MAX - 1, UINT64_MAX};
    char text[STR_U64_MAX];
    uint64_t back;

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        size_t n = str_put_u64(text, numbers[i]);

        assert_true(str_to_u64((struct str){text, n}, &back) && back == numbers[i]);
        assert_true(n == 1 || text[0] != '0');
    }
}

static void splits(void **state)
{
    struct str rest = STR("a,,b,"), piece;
    static const char *const expected[] = {"a", "", "b", ""};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_true(str_split(&rest, ',', &piece));
        assert_true(str_eq(piece, str_of(expected[i])));
    }
    assert_false(str_split(&rest, ',', &piece));
    rest = STR_NONE;
    assert_false(str_split(&rest, ',', &piece));
}

static void allocates(void **state)
{
    char *text = xasprintf("%s-%d", "a", 7);

    (void)state;
    assert_string_equal(text, "a-7");
    text = xrealloc(text, 100);
    assert_string_equal(text, "a-7");
    free(text);
    text = xstrndup("abc", 2);
    assert_string_equal(text, "ab");
    free(text);
    free(xmalloc(0));
    free(xcalloc(0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),       cmocka_unit_test(trims),  cmocka_unit_test(reads_numbers),
        cmocka_unit_test(writes_numbers), cmocka_unit_test(splits), cmocka_unit_test(allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
