/* Patterns of the configuration: paths and host names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/pattern.h"
#include "http/wire/host_pattern.h"

static void test_match(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"/heavy-*", "/heavy-x", true},
        {"/heavy-*", "/heavy-", true},
        {"/heavy-*", "/heavy", false},
        {"/heavy-*", "/x/heavy-x", false},
        {"/api/*/export", "/api/a/b/export", true},
        {"/api/*/export", "/api/export", false},
        {"*", "", true},
        {"", "", true},
        {"", "x", false},
        {"*.php", "/a.php.php", true},
        {"*a*b*c*", "xxaxxbxxcxx", true},
        {"*a*b*c*", "xxaxxcxxbxx", false},
        {"/a?b", "/axb", false},
        {"/A", "/a", false},
        {"**", "anything", true},
        {"/exact", "/exact", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(pattern_match(str_of(cases[i].pattern), str_of(cases[i].text)), cases[i].fits);
    }
}

/* A pattern that makes naive matchers explode. */
static void test_match_is_bounded(void **state)
{
    (void)state;
    char text[4001];
    memset(text, 'a', 4000);
    text[4000] = '\0';
    assert_false(pattern_match(STR("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"), str_of(text)));
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool fits, below;
    } cases[] = {
        {"/a/*.php", "/a/x.php", true, false},
        {"/a/*.php", "/a/b/x.php", false, false},
        {"/a/*.php", "/a", false, true},
        {"/a/*.php", "/b", false, false},
        {"/a/**/*.php", "/a/x.php", true, true},
        {"/a/**/*.php", "/a/b/c/x.php", true, true},
        {"/a/**/*.php", "/a/b/c/x.txt", false, true},
        {"/a/**/*.php", "/a/.git/x.php", false, true},
        {"/a/**/t/*.php", "/a/b/t/c/t/x.php", true, true},
        {"/a/**/t/*.php", "/a/b/x.php", false, true},
        {"/a/**/b/**/*.c", "/a/x/b/y/z.c", true, true},
        {"/a/**/b/**/*.c", "/a/x/y/z.c", false, true},
        {"/a/**", "/a/b/c", true, true},
        {"/a/**", "/a", true, true},
        {"/a/**", "/ab", false, false},
        {"/a/.env*", "/a/.env.local", true, false},
        {"/a/.env", "/a/.env/x", false, false},
        {"/a/b/.env", "/a", false, true},
        {"**", "x", true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct str pattern = str_of(cases[i].pattern), path = str_of(cases[i].path);
        print_message("%s %s\n", cases[i].pattern, cases[i].path);
        assert_int_equal(pattern_file_match(pattern, path), cases[i].fits);
        if (!cases[i].fits) {
            assert_int_equal(pattern_file_below(pattern, path), cases[i].below);
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    struct str rest = STR("  /a, /b\t/c ,"), word;
    const char *wanted[] = {"/a", "/b", "/c"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(str_word(&rest, &word));
        assert_true(str_eq(word, str_of(wanted[i])));
    }
    assert_false(str_word(&rest, &word));
}

static void test_host(void **state)
{
    (void)state;
    const char *names = "example.org *.example.org *.deep.example.org";
    unsigned exact = host_pattern_fit(names, STR("EXAMPLE.org:8080"));
    unsigned deep = host_pattern_fit(names, STR("a.deep.example.org"));
    unsigned shallow = host_pattern_fit(names, STR("a.example.org."));
    assert_true(exact > deep);
    assert_true(deep > shallow);
    assert_true(shallow > 0);
    assert_int_equal(host_pattern_fit(names, STR("badexample.org")), 0);
    assert_int_equal(host_pattern_fit(names, STR(".example.org")), 0);
    assert_int_equal(host_pattern_fit(names, STR("")), 0);
    assert_int_equal(host_pattern_fit(NULL, STR("example.org")), 0);
    assert_true(host_pattern_fit("[::1]", STR("[::1]:80")) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match), cmocka_unit_test(test_match_is_bounded),
        cmocka_unit_test(test_files), cmocka_unit_test(test_words),
        cmocka_unit_test(test_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
