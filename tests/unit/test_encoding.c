/* Hexadecimal digits, URLs, UTF-8, JSON escapes; and that a hash knows its seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/encoding.h"
#include "engine/base/hash.h"

static void digits(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        static const char all[] = "0123456789abcdef0123456789ABCDEF";
        const char *at = c ? memchr(all, c, sizeof(all) - 1) : NULL;

        assert_int_equal(hex_digit((char)c), at ? (at - all) % 16 : -1);
    }
}

static void urls(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},   {"a+b", "a+b"}, {"%41%2fb", "A/b"},   {"%4", "%4"},
        {"%", "%"}, {"%%41", "%A"}, {"%4g%zz", "%4g%zz"}, {"%e2%82%ac", "\xe2\x82\xac"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];
        size_t n = strlen(cases[i][0]);

        memcpy(text, cases[i][0], n); /* in place, and no byte behind the end is looked at */
        size_t out = url_decode((struct str){text, n}, text);

        assert_int_equal(out, strlen(cases[i][1]));
        assert_memory_equal(text, cases[i][1], out);
    }
}

static void utf8(void **state)
{
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {{"a", 1},
                 {"\xc3\xa9", 2},
                 {"\xe2\x82\xac", 3},
                 {"\xf0\x9f\x98\x80", 4},
                 {"\xc3", 0},
                 {"\xc0\xaf", 0},         /* longer than needed */
                 {"\xe0\x80\xaf", 0},     /* the same */
                 {"\xf0\x80\x80\xaf", 0}, /* the same */
                 {"\xed\xa0\x80", 0},     /* a surrogate */
                 {"\xf4\x90\x80\x80", 0}, /* beyond U+10FFFF */
                 {"\x80", 0},
                 {"\xff", 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(utf8_length((const unsigned char *)cases[i].text, strlen(cases[i].text)),
                         cases[i].length);
    }
}

static void json(void **state)
{
    char scratch[8];

    (void)state;
    assert_null(json_escape('a', scratch));
    assert_null(json_escape('/', scratch));
    assert_string_equal(json_escape('"', scratch), "\\\"");
    assert_string_equal(json_escape('\n', scratch), "\\n");
    assert_string_equal(json_escape(0x1f, scratch), "\\u001f");
    assert_string_equal(json_escape(0, scratch), "\\u0000");
    assert_string_equal(json_escape(0x7f, scratch), "\\u007f");
}

static void hashes(void **state)
{
    (void)state;
    assert_true(hash_str(STR("a"), 1) == hash_str(STR("a"), 1));
    assert_true(hash_str(STR("a"), 1) != hash_str(STR("a"), 2));
    assert_true(hash_str(STR("a"), 1) != hash_str(STR("b"), 1));
    assert_true(hash_seed() != hash_seed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(digits), cmocka_unit_test(urls),
                                       cmocka_unit_test(utf8), cmocka_unit_test(json),
                                       cmocka_unit_test(hashes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
