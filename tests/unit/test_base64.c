/* base64url as HTTP2-Settings carries it, base64 as credentials do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/wire/base64.h"

static void assert_decodes(const char *text, const char *bytes, ssize_t n)
{
    unsigned char out[16];
    assert_int_equal(base64url_decode(str_of(text), out, sizeof out), n);
    if (n > 0) {
        assert_memory_equal(out, bytes, (size_t)n);
    }
}

static void test_decode(void **state)
{
    (void)state;
    assert_decodes("", "", 0);
    assert_decodes("Zg", "f", 1);
    assert_decodes("Zm8", "fo", 2);
    assert_decodes("Zm9v", "foo", 3);
    assert_decodes("AAMAAABk", "\0\3\0\0\0\144", 6);
    assert_decodes("-_8", "\373\377", 2);
}

static void test_refused(void **state)
{
    (void)state;
    assert_decodes("Z", "", -1);    /* six bits are no byte */
    assert_decodes("Zh", "", -1);   /* bits left over */
    assert_decodes("Zg==", "", -1); /* padding */
    assert_decodes("+/8", "", -1);  /* the other alphabet */
    assert_decodes("Zm9v Zm9v", "", -1);
    assert_decodes("AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", -1); /* more than the room */
}

static void test_credentials(void **state)
{
    static const struct {
        const char *text, *bytes;
    } cases[] = {{"am9lOng=", "joe:x"}, {"am9lOng", "joe:x"}, {"+/8=", "\373\377"}, {"", ""}, {"==", ""}};
    unsigned char out[16];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ssize_t n = (ssize_t)strlen(cases[i].bytes);
        assert_int_equal(base64_decode(str_of(cases[i].text), out, sizeof out), n);
        assert_memory_equal(out, cases[i].bytes, (size_t)n);
    }
    assert_int_equal(base64_decode(STR("-_8="), out, sizeof out), -1);
    assert_int_equal(base64_decode(STR("Zg==="), out, sizeof out), -1);
    assert_int_equal(base64_decode(STR("Z"), out, sizeof out), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
