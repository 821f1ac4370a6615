/* Growing text: limits, sticky failure, and what JSON and XML make of every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"

static void grows(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i < 10000; i++) {
        buf_printf(&b, "%d,", i % 10);
    }
    assert_false(b.failed);
    assert_int_equal(b.n, 20000);
    assert_int_equal(b.p[b.n], '\0');
    buf_free(&b);
    assert_null(b.p);
    buf_text(&b, "");
    buf_str(&b, STR_NONE);
    assert_int_equal(b.n, 0);
    buf_free(&b);
}

static void stops_at_its_limit(void **state)
{
    struct buf b = {.limit = 5};

    (void)state;
    buf_text(&b, "12345");
    assert_false(b.failed);
    buf_text(&b, "6");
    assert_true(b.failed);
    assert_string_equal(b.p, "12345");
    buf_text(&b, "");
    buf_printf(&b, "%s", "7");
    assert_string_equal(b.p, "12345"); /* sticky, and nothing half written */
    buf_free(&b);
    b.limit = 3;
    buf_printf(&b, "%s", "1234");
    assert_true(b.failed);
    assert_int_equal(b.n, 0);
    buf_free(&b);
    buf_u64(&b, 1230);
    buf_u64(&b, 0);
    assert_string_equal(b.p, "12300");
    buf_free(&b);
}

static void assert_escaped(void (*escape)(struct buf *, struct str), struct str in, const char *expected)
{
    struct buf b = {0};

    escape(&b, in);
    assert_string_equal(b.p, expected);
    buf_free(&b);
}

static void escapes_json(void **state)
{
    (void)state;
    assert_escaped(buf_json, STR("a\"b\\c\n\r\t\b\f"), "a\\\"b\\\\c\\n\\r\\t\\b\\f");
    assert_escaped(buf_json, ((struct str){"\0\x1f\x7f", 3}), "\\u0000\\u001f\\u007f");
    assert_escaped(buf_json, STR("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
    assert_escaped(buf_json, STR("\xff"), "\xef\xbf\xbd");
    assert_escaped(buf_json, STR("\xc3"), "\xef\xbf\xbd");                                 /* cut short */
    assert_escaped(buf_json, STR("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");                 /* overlong '/' */
    assert_escaped(buf_json, STR("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* surrogate */
    assert_escaped(buf_json, STR("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
    assert_escaped(buf_json, STR("\xf5\x80\x80\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

static void escapes_xml(void **state)
{
    (void)state;
    assert_escaped(buf_xml, STR("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#039;");
    assert_escaped(buf_xml, STR("\x01\t\n\r\x1b"), "\xef\xbf\xbd\t\n\r\xef\xbf\xbd");
    assert_escaped(buf_xml, STR("\xef\xbf\xbe"), "\xef\xbf\xbd"); /* U+FFFE */
}

static void accepts_every_pair_of_bytes(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        const char bytes[2] = {(char)(pair >> 8), (char)pair};
        struct buf json = {0}, xml = {0};
        buf_json(&json, (struct str){bytes, 2});
        buf_xml(&xml, (struct str){bytes, 2});
        assert_true(json.n >= 1 && xml.n >= 1);
        for (size_t i = 0; i < json.n; i++) {
            assert_true((unsigned char)json.p[i] >= 0x20);
        }
        assert_null(memchr(xml.p, '<', xml.n));
        buf_free(&json);
        buf_free(&xml);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows),
        cmocka_unit_test(stops_at_its_limit),
        cmocka_unit_test(escapes_json),
        cmocka_unit_test(escapes_xml),
        cmocka_unit_test(accepts_every_pair_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
