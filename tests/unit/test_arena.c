/* The arena: alignment, its limit, large pieces between small ones, reuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"

static void aligns_and_keeps_apart(void **state)
{
    struct arena *a = arena_create(1 << 20);
    char *pieces[200];

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        size_t n = i % 7 == 0 ? 5000 + i : i;
        pieces[i] = arena_alloc(a, n);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)i, n ? n : 1);
    }
    for (size_t i = 0; i < 200; i++) {
        size_t n = i % 7 == 0 ? 5000 + i : i;
        for (size_t k = 0; k < n; k++) {
            assert_int_equal((unsigned char)pieces[i][k], i);
        }
    }
    arena_destroy(a);
}

static void says_no_beyond_its_limit(void **state)
{
    struct arena *a = arena_create(1000);

    (void)state;
    assert_null(arena_alloc(a, 1001));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 3));
    assert_null(arena_dup(a, "", SIZE_MAX));
    assert_non_null(arena_alloc(a, 900));
    assert_null(arena_alloc(a, 200));
    assert_null(arena_printf(a, "%200s", ""));
    assert_non_null(arena_alloc(a, 50)); /* still usable */
    assert_true(arena_used(a) <= 1000);
    arena_reset(a);
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_alloc(a, 900));
    arena_destroy(a);
}

static void reuses_its_first_block(void **state)
{
    struct arena *a = arena_create(1 << 20);
    char *first = arena_alloc(a, 10);

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50; i++) {
            assert_non_null(arena_alloc(a, i % 2 ? 6000 : 100));
        }
        arena_reset(a);
        assert_ptr_equal(arena_alloc(a, 10), first);
    }
    arena_destroy(a);
    arena_destroy(NULL);
}

static void copies_text(void **state)
{
    struct arena *a = arena_create(1 << 20);

    (void)state;
    assert_string_equal(arena_dup(a, "abcdef", 3), "abc");
    assert_string_equal(arena_dup(a, NULL, 0), "");
    assert_string_equal(arena_printf(a, "%s/%d", "x", 5), "x/5");
    assert_string_equal(arena_u64(a, 0), "0");
    assert_string_equal(arena_u64(a, UINT64_MAX), "18446744073709551615");
    assert_string_equal(arena_join(a, STR("/srv"), (struct str){"/x.php?", 6}), "/srv/x.php");
    assert_string_equal(arena_join(a, STR_NONE, STR_NONE), "");
    assert_null(arena_join(a, STR("x"), (struct str){"x", SIZE_MAX - 2}));
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_and_keeps_apart),
        cmocka_unit_test(says_no_beyond_its_limit),
        cmocka_unit_test(reuses_its_first_block),
        cmocka_unit_test(copies_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
