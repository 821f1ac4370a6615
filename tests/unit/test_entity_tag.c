/* Marks of codings on entity tags: on, and off again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/content/entity_tag.h"

static void test_mark(void **state)
{
    (void)state;
    static const struct {
        const char *tag;
        enum coding coding;
        const char *marked;
    } rows[] = {
        {"\"a\"", CODING_GZIP, "\"a-gzip\""},
        {"\"a\"", CODING_BROTLI, "\"a-br\""},
        {"\"a\"", CODING_ZSTD, "\"a-zstd\""},
        {"\"a\"", CODING_IDENTITY, "\"a\""},
        {"W/\"a\"", CODING_GZIP, "W/\"a\""},
        {"\"\"", CODING_GZIP, "\"-gzip\""},
        {"a", CODING_GZIP, "a"},
        {"\"", CODING_GZIP, "\""},
        {"", CODING_GZIP, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out = {0};
        entity_tag_mark(&out, str_of(rows[i].tag), rows[i].coding);
        assert_true(str_eq((struct str){out.p ? out.p : "", out.n}, str_of(rows[i].marked)));
        buf_free(&out);
    }
}

static void test_unmark(void **state)
{
    (void)state;
    static const struct {
        const char *list, *plain;
        unsigned codings;
    } rows[] = {
        {"\"a-gzip\"", "\"a\"", 1u << CODING_GZIP},
        {"\"a-br\", \"b\",W/\"c-zstd\"", "\"a\", \"b\",W/\"c\"",
         1u << CODING_BROTLI | 1u << CODING_ZSTD | 1u << CODING_IDENTITY},
        {"\"a-gzip-gzip\"", "\"a-gzip\"", 1u << CODING_GZIP},
        {"\"-gzip\"", "\"\"", 1u << CODING_GZIP},
        {"\"gzip\"", "\"gzip\"", 1u << CODING_IDENTITY},
        {"*", "*", 0},
        {"", "", 0},
        {"\"a-gzip", "\"a-gzip", 0},
        {"\"a-gzip\", \"b-gzip", "\"a\", \"b-gzip", 1u << CODING_GZIP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena *arena = arena_create(1 << 16);
        unsigned codings = 99;
        struct str got = entity_tag_unmark(arena, str_of(rows[i].list), &codings);
        assert_string_equal(got.p, rows[i].plain);
        assert_int_equal(got.n, strlen(rows[i].plain));
        assert_int_equal(codings, rows[i].codings);
        arena_destroy(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mark), cmocka_unit_test(test_unmark)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
