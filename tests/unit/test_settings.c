/* The row walker: every type in, out, and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/settings.h"

struct sample {
    bool flag, number_given;
    int64_t number, priority, time, size, mode;
    char *text, *path, *secret;
    int word, unset_word;
    struct setting_pair *list, *map;
};

static const char *const words[] = {"red", "green", NULL};
static const char *const unset_words[] = {"undefined", "low", "high", NULL};
static const char *const undefined[] = {"undefined", NULL};

static int check_even(const char *value, char *error, size_t error_size)
{
    if (strlen(value) % 2) {
        snprintf(error, error_size, "expected an even length");
        return -1;
    }
    return 0;
}

#define ROW(row_name, row_type, field)                                                                       \
    .name = row_name, .type = row_type, .offset = offsetof(struct sample, field)
static const struct setting_row rows[] = {
    {ROW("flag", SETTING_BOOL, flag), .initial = "yes"},
    {ROW("a.number", SETTING_INT, number), .min = 1, .max = 100, .initial = "7",
     .given_offset = offsetof(struct sample, number_given)},
    {ROW("priority", SETTING_INT, priority), .words = undefined, .word_value = 64, .initial = "undefined"},
    {ROW("time", SETTING_TIME, time)},
    {ROW("size", SETTING_SIZE, size), .initial = "1M"},
    {ROW("mode", SETTING_OCTAL, mode), .initial = "0660"},
    {ROW("text", SETTING_STRING, text), .check = check_even},
    {ROW("path", SETTING_PATH, path)},
    {ROW("secret", SETTING_STRING, secret), .secret = true},
    {ROW("word", SETTING_WORD, word), .words = words, .initial = "green"},
    {ROW("unset.word", SETTING_WORD, unset_word), .words = unset_words},
    {ROW("list", SETTING_LIST, list)},
    {ROW("map", SETTING_MAP, map)},
};
static const struct setting_table table = {SCOPE_POOL, rows, sizeof rows / sizeof *rows,
                                           sizeof(struct sample)};

static struct sample sample;
static char error[256];

static int set_up(void **state)
{
    (void)state;
    memset(&sample, 0, sizeof sample);
    settings_apply_defaults(&table, &sample);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    settings_free(&table, &sample);
    return 0;
}

static int set(const char *name, const char *value)
{
    return settings_set(settings_find(&table, name), &sample, "KEY", value, "f.ini", 3, error, sizeof error);
}

static void applies_defaults(void **state)
{
    (void)state;
    assert_true(sample.flag);
    assert_int_equal(sample.number, 7);
    assert_false(sample.number_given);
    assert_int_equal(sample.priority, 64);
    assert_int_equal(sample.size, 1048576);
    assert_int_equal(sample.mode, 0660);
    assert_int_equal(sample.word, 1);
    assert_int_equal(sample.unset_word, 0);
    assert_null(sample.text);
}

static void takes_values(void **state)
{
    static const struct {
        const char *name, *value, *text;
    } good[] = {
        {"flag", "off", "no"},
        {"flag", "TRUE", "yes"},
        {"flag", "", "no"},
        {"flag", "none", "no"},
        {"a.number", "100", "100"},
        {"A.Number", "1", "1"},
        {"priority", "-19", "-19"},
        {"priority", "undefined", "undefined"},
        {"time", "90", "90s"},
        {"time", "2m", "120s"},
        {"time", "1h", "3600s"},
        {"time", "1d", "86400s"},
        {"time", "1w", "604800s"},
        {"time", "1y", "31536000s"},
        {"time", "off", "0s"},
        {"size", "64k", "65536"},
        {"size", "2G", "2147483648"},
        {"mode", "644", "0644"},
        {"text", "", ""},
        {"text", "ab", "ab"},
        {"path", "/x", "/x"},
        {"path", "", "undefined"},
        {"secret", "hush", "***"},
        {"word", "RED", "red"},
        {"unset.word", "high", "high"},
        {"list", "one", "one"},
        {"list", "two", "one two"},
        {"map", "v", "KEY=v"},
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(set(good[i].name, good[i].value), 0);
        settings_text(settings_find(&table, good[i].name), &sample, text, sizeof text);
        assert_string_equal(text, good[i].text);
    }
    assert_true(sample.number_given);
    assert_string_equal(sample.list->next->file, "f.ini");
    assert_int_equal(sample.list->next->line, 3);
    assert_null(sample.list->key);
}

static void refuses_values(void **state)
{
    static const struct {
        const char *name, *value, *error;
    } bad[] = {
        {"flag", "maybe", "expected yes or no"},
        {"a.number", "many", "expected a number from 1 to 100"},
        {"a.number", "0", "expected a number from 1 to 100"},
        {"a.number", "101", "expected a number from 1 to 100"},
        {"a.number", "99999999999999999999", "expected a number from 1 to 100"},
        {"a.number", "", "expected a number from 1 to 100"},
        {"a.number", "-", "expected a number from 1 to 100"},
        {"a.number", "1 ", "expected a number from 1 to 100"},
        {"priority", "low", "expected a number or undefined"},
        {"time", "5x", "expected a time (30, 30s, 5m, 2h, 1d or off)"},
        {"time", "9223372036854775807y", "expected a time (30, 30s, 5m, 2h, 1d or off)"},
        {"time", "-1", "expected a time (30, 30s, 5m, 2h, 1d or off)"},
        {"size", "1T", "expected a size (4096, 64K, 16M or 2G)"},
        {"size", "9999999999999G", "expected a size (4096, 64K, 16M or 2G)"},
        {"mode", "0689", "expected an octal number (0660)"},
        {"text", "abc", "expected an even length"},
        {"word", "blue", "expected red or green"},
        {"unset.word", "undefined", "expected low or high"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(set(bad[i].name, bad[i].value), -1);
        assert_string_equal(error, bad[i].error);
    }
    assert_int_equal(sample.number, 7);
    assert_int_equal(
        settings_set(settings_find(&table, "map"), &sample, "", "v", "f", 1, error, sizeof error), -1);
    assert_null(sample.map);
}

static void finds_names(void **state)
{
    const struct setting_table *tables[] = {&table};

    (void)state;
    assert_non_null(settings_find(&table, "FLAG"));
    assert_null(settings_find(&table, "LIST")); /* lists and maps are exact, as in php-fpm */
    assert_null(settings_find(&table, "flags"));
    assert_string_equal(settings_nearest(tables, 1, "flags"), "flag");
    assert_string_equal(settings_nearest(tables, 1, "prioriti"), "priority");
    assert_string_equal(settings_nearest(tables, 1, "number"), "a.number");
    assert_null(settings_nearest(tables, 1, "something.else"));
    char longest[200];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(settings_nearest(tables, 1, longest));
    longest[63] = '\0';
    assert_null(settings_nearest(tables, 1, longest));
}

static void prints_into_small_buffers(void **state)
{
    char text[4];

    (void)state;
    assert_int_equal(set("list", "abcdefgh"), 0);
    assert_int_equal(set("list", "ijkl"), 0);
    for (size_t i = 0; i < table.count; i++) {
        settings_text(&rows[i], &sample, text, sizeof text);
        assert_true(strlen(text) < sizeof text);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(applies_defaults),          TEST(takes_values), TEST(refuses_values), TEST(finds_names),
        TEST(prints_into_small_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
