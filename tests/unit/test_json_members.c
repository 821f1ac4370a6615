/* Members of JSON objects, with the names that lead to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/json_members.h"

static char seen[1000];

static void note(void *ctx, const struct str *names, size_t count, struct str value)
{
    size_t n = strlen(seen);
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(seen + n, sizeof seen - n, "%s%.*s", i ? "/" : "", (int)names[i].n, names[i].p);
    }
    snprintf(seen + n, sizeof seen - n, "=%.*s;", (int)value.n, value.p);
}

static bool read(const char *text)
{
    seen[0] = '\0';
    return json_members(str_of(text), note, NULL);
}

static void test_members(void **state)
{
    (void)state;
    assert_true(read("{}"));
    assert_string_equal(seen, "");
    assert_true(read(" {\"a\" : 1, \"b\":{\"c\":\"x\\\"}{\", \"d\":[true,{\"e\":null}] } }\n"));
    assert_string_equal(seen, "a=1;b/c=\"x\\\"}{\";b/d/e=null;b/d=[true,{\"e\":null}];"
                              "b={\"c\":\"x\\\"}{\", \"d\":[true,{\"e\":null}] };");
    assert_true(read("[]"));
    assert_true(read("[1, -2.5e3, \"\"]"));
    assert_true(read("\"text\""));
}

static void test_no_json(void **state)
{
    static const char *const bad[] = {
        "",   "{",          "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1",          "{a:1}", "[1,]",
        "[1", "{\"a\":\"x", "{\"a\\",  "{} {}",    "\"text\\",   "{\"a\":1 \"b\":2}", "]",     ":"};
    char deep[200] = "";
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(read(bad[i]));
    }
    memset(deep, '[', sizeof deep - 1);
    assert_false(read(deep));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_members), cmocka_unit_test(test_no_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
