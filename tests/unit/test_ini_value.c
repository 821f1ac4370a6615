/* Values in the ini dialect of PHP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/ini_value.h"

static void evaluates(void **state)
{
    static const struct {
        const char *text, *value, *raw;
    } good[] = {
        {"", "", ""},
        {"   ", "", ""},
        {" plain ", "plain", "plain"},
        {"two words ; comment", "two words", "two words"},
        {"\"a;b\" ; c", "a;b", "a;b"},
        {"'$x \\n'", "$x \\n", "$x \\n"},
        {"\"say \\\"hi\\\"\"", "say \"hi\"", "\"say \\\"hi\\\"\""},
        {"yes", "1", "yes"},
        {"On ; c", "1", "On"},
        {"off", "", "off"},
        {"None", "", "None"},
        {"null", "", "null"},
        {"\"off\"", "off", "off"},
        {"offline", "offline", "offline"},
        {"no way", "no way", "no way"},
        {"E_ALL", INI_E_ALL_HAS_STRICT ? "32767" : "30719", "E_ALL"},
        {"E_ALL & ~E_NOTICE", INI_E_ALL_HAS_STRICT ? "32759" : "30711", "E_ALL & ~E_NOTICE"},
        {"E_ALL&~(E_NOTICE|E_STRICT)", "30711", "E_ALL&~(E_NOTICE|E_STRICT)"},
        {"6 ^ 3", "5", "6 ^ 3"},
        {"!1", "0", "!1"},
        {"e_all", "e_all", "e_all"},
        {"${INI_TEST}", "from env", "${INI_TEST}"},
        {"a${INI_TEST}b", "afrom envb", "a${INI_TEST}b"},
        {"\"x ${INI_TEST}\"", "x from env", "x ${INI_TEST}"},
        {"'${INI_TEST}'", "${INI_TEST}", "${INI_TEST}"},
        {"${INI_NOT_SET}", "", "${INI_NOT_SET}"},
        {"${INI_NOT_SET:-else}", "else", "${INI_NOT_SET:-else}"},
        {"$HOME", "$HOME", "$HOME"},
        {"/usr/bin:/bin", "/usr/bin:/bin", "/usr/bin:/bin"},
        {"\"a\" \"b\"", "ab", "\"a\" \"b\""},
        {"[::]:9000", "[::]:9000", "[::]:9000"},
    };

    (void)state;
    setenv("INI_TEST", "from env", 1);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct buf value = {0}, raw = {0};
        char error[256] = "";
        assert_int_equal(ini_value_parse(good[i].text, &value, &raw, error, sizeof error), 0);
        assert_string_equal(value.p ? value.p : "", good[i].value);
        assert_string_equal(raw.p ? raw.p : "", good[i].raw);
        buf_free(&value);
        buf_free(&raw);
    }
}

static void refuses(void **state)
{
    static const char *const bad[] = {
        "pong!", "\"open",
        "'open", "${open",
        "a=b",   "(1",
        "1)",    "1 | ",
        "| 1",   "& ;",
        "~",     "((((((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))))))",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf value = {0}, raw = {0};
        char error[256] = "";
        if (ini_value_parse(bad[i], &value, &raw, error, sizeof error) != -1 || !error[0]) {
            fail_msg("'%s' was taken as '%s'", bad[i], value.p ? value.p : "");
        }
        buf_free(&value);
        buf_free(&raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(evaluates), cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
