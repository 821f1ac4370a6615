/* What of the settings is shown, and what is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/settings_mask.h"

struct fields {
    char *token, *name;
    struct setting_pair *env, *values, *list, *rules;
};

static const struct setting_row rows[] = {
    {.name = "token", .type = SETTING_STRING, .offset = offsetof(struct fields, token), .secret = true},
    {.name = "name", .type = SETTING_STRING, .offset = offsetof(struct fields, name)},
    {.name = "env", .type = SETTING_MAP, .offset = offsetof(struct fields, env), .secret = true},
    {.name = "php_value", .type = SETTING_MAP, .offset = offsetof(struct fields, values)},
    {.name = "list", .type = SETTING_LIST, .offset = offsetof(struct fields, list)},
    {.name = "rules", .type = SETTING_MAP, .offset = offsetof(struct fields, rules), .open = true},
};
static const struct setting_table table = {SCOPE_POOL, rows, 6, sizeof(struct fields)};
static struct fields fields;

static void set(int row, const char *key, const char *value)
{
    char error[200];
    assert_int_equal(settings_set(&rows[row], &fields, key, value, "file", 1, error, sizeof(error)), 0);
}

static const struct {
    const char *key, *value;
    bool shown;
} values[] = {
    {"memory_limit", "256M", true},
    {"display_errors", "off", true},
    {"precision", "-1", true},
    {"session.gc_maxlifetime", "1440", true},
    {"mysqli.default_pw", "12345", false},
    {"session.save_path", "tcp://cache?auth=hush", false},
    {"x.password", "1", false},
    {"x.api_key", "1", false},
    {"date.timezone", "Europe/Berlin", false},
    {"x.size", "256MB", false},
    {"x.size", "M", false},
};

static const struct {
    const char *key, *value;
    bool shown;
} rules[] = {
    {"X-Frame-Options", "DENY", true},
    {"Authorization", "Bearer hush", false},
    {"X-Api-Key", "hush", false},
    {"Set-Cookie", "hush", false},
    {"/keys/*", "/new-keys/*", true}, /* a path is no name */
    {"/tokens /pass", "301 https://example.org/pass?page=1&sort=name", true},
    {"/old", "https://user:hush@example.org/", false},
    {"/old", "https://example.org/a@b//c", true},
    {"/old", "https://example.org/?a=1&api-key=hush", false},
    {"Link", "</a>; title=x; access_token=hush", false},
    {"Content-Security-Policy", "default-src 'self'", true},
};

static int make(void **state)
{
    (void)state;
    fields = (struct fields){0};
    set(0, NULL, "hush");
    set(1, NULL, "shop");
    set(2, "MODE", "1");
    set(4, NULL, "/ping");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        set(3, values[i].key, values[i].value);
    }
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        set(5, rules[i].key, rules[i].value);
    }
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    settings_free(&table, &fields);
    return 0;
}

static const char *shown(int row)
{
    static char text[1000];
    return settings_shown(&rows[row], &fields, text, sizeof(text));
}

static void only_what_is_no_secret_is_shown(void **state)
{
    const struct setting_pair *p = fields.values;
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++, p = p->next) {
        assert_string_equal(settings_shown_pair(&rows[3], p), values[i].shown ? values[i].value : "***");
    }
    assert_string_equal(shown(0), "***");
    assert_string_equal(shown(1), "shop");
    assert_string_equal(shown(2), "MODE=***");
    assert_string_equal(shown(4), "/ping");
    assert_non_null(strstr(shown(3), "memory_limit=256M display_errors=off"));
    assert_null(strstr(shown(3), "hush"));
}

static void of_rules_what_looks_like_a_secret_is_hidden(void **state)
{
    const struct setting_pair *p = fields.rules;
    (void)state;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++, p = p->next) {
        assert_string_equal(settings_shown_pair(&rows[5], p), rules[i].shown ? rules[i].value : "***");
    }
}

/* They are what the process acts by. */
static void needed_rules_stay(void **state)
{
    const struct setting_pair *second = fields.rules->next;
    (void)state;
    settings_forget(&table, &fields, true);
    assert_string_equal(second->value, "Bearer hush");
    assert_string_equal(fields.token, "***");
    settings_forget(&table, &fields, false);
    assert_string_equal(second->value, "***");
    assert_string_equal(fields.rules->value, "DENY");
}

static void what_is_forgotten_is_gone(void **state)
{
    const char *token = fields.token, *path = fields.values->next->next->next->next->next->value;
    (void)state;
    settings_forget(&table, &fields, false);
    assert_string_equal(token, "***");
    assert_memory_equal(path, "***\0\0\0\0", 7);
    assert_int_equal(path[strlen("tcp://cache?auth=hus")], 0);
    assert_string_equal(fields.env->value, "*"); /* no longer than it was */
    assert_string_equal(fields.values->value, "256M");
    assert_string_equal(fields.name, "shop");
    assert_string_equal(fields.list->value, "/ping");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_is_no_secret_is_shown, make, unmake),
        cmocka_unit_test_setup_teardown(of_rules_what_looks_like_a_secret_is_hidden, make, unmake),
        cmocka_unit_test_setup_teardown(needed_rules_stay, make, unmake),
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_gone, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
