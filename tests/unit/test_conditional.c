/* Conditional requests and the dates in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/wire/conditional.h"
#include "http/wire/http_date.h"

#define MODIFIED 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define SAME     "Sun, 06 Nov 1994 08:49:37 GMT"
#define EARLIER  "Sun, 06 Nov 1994 08:49:36 GMT"
#define LATER    "Sun, 06 Nov 1994 08:49:38 GMT"

/* Fields as "Name: value\n..." */
static void read_fields(char *text, struct http_head *head)
{
    memset(head, 0, sizeof(*head));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *colon = strchr(line, ':');
        head->fields[head->field_count].name = (struct str){line, (size_t)(colon - line)};
        head->fields[head->field_count++].value = str_trim(str_of(colon + 1));
    }
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        enum condition expected;
    } rows[] = {
        {"", CONDITION_GO},
        {"If-None-Match: \"a\"", CONDITION_NOT_MODIFIED},
        {"if-none-match: W/\"a\"", CONDITION_NOT_MODIFIED},
        {"If-None-Match: *", CONDITION_NOT_MODIFIED},
        {"If-None-Match: \"b\"", CONDITION_GO},
        {"If-None-Match: \"b\", \"a\"", CONDITION_NOT_MODIFIED},
        {"If-None-Match: \"b\",W/\"x,y\" ,  \"a\"", CONDITION_NOT_MODIFIED},
        {"If-None-Match: \"b\"\nIf-None-Match: \"a\"", CONDITION_NOT_MODIFIED},
        {"If-None-Match: a", CONDITION_GO},
        {"If-None-Match: \"a", CONDITION_GO},
        {"If-None-Match: W/", CONDITION_GO},
        {"If-None-Match:", CONDITION_GO},
        {"If-None-Match: \"b\"\nIf-Modified-Since: " SAME, CONDITION_GO},
        {"If-None-Match: \"a\"\nIf-Modified-Since: " EARLIER, CONDITION_NOT_MODIFIED},
        {"If-Modified-Since: " SAME, CONDITION_NOT_MODIFIED},
        {"If-Modified-Since: " LATER, CONDITION_NOT_MODIFIED},
        {"If-Modified-Since: " EARLIER, CONDITION_GO},
        {"If-Modified-Since: yesterday", CONDITION_GO},
        {"If-Match: \"a\"", CONDITION_GO},
        {"If-Match: *", CONDITION_GO},
        {"If-Match: W/\"a\"", CONDITION_FAILED},
        {"If-Match: \"b\"", CONDITION_FAILED},
        {"If-Match: \"a\"\nIf-Unmodified-Since: " EARLIER, CONDITION_GO},
        {"If-Match: \"a\"\nIf-None-Match: \"a\"", CONDITION_NOT_MODIFIED},
        {"If-Unmodified-Since: " EARLIER, CONDITION_FAILED},
        {"If-Unmodified-Since: " SAME, CONDITION_GO},
        {"If-Unmodified-Since: x", CONDITION_GO},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        struct http_head head;
        strcpy(text, rows[i].fields);
        read_fields(text, &head);
        enum condition got = conditional_check(&head, STR("\"a\""), MODIFIED);
        if (got != rows[i].expected) {
            fail_msg("%s: got %d", rows[i].fields, got);
        }
    }
}

static void test_if_range(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool holds;
    } rows[] = {
        {"", true},
        {"If-Range: \"a\"", true},
        {"If-Range: W/\"a\"", false},
        {"If-Range: \"b\"", false},
        {"If-Range: " SAME, true},
        {"If-Range: " LATER, false},
        {"If-Range: " EARLIER, false},
        {"If-Range: x", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];
        struct http_head head;
        strcpy(text, rows[i].fields);
        read_fields(text, &head);
        assert_int_equal(conditional_range_holds(&head, STR("\"a\""), MODIFIED), rows[i].holds);
    }
}

static void test_dates(void **state)
{
    (void)state;
    static const char *const same[] = {SAME, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};
    int64_t seconds;
    for (size_t i = 0; i < 3; i++) {
        assert_true(http_date_parse(str_of(same[i]), &seconds));
        assert_int_equal(seconds, MODIFIED);
    }
    static const char *const bad[] = {"",
                                      "x",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 GMTx",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nox 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:60:37 GMT",
                                      "Sun, 06 Nov -994 08:49:37 GMT",
                                      "Sun Nov  6 08:49:37 199x",
                                      "784111777"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(http_date_parse(str_of(bad[i]), &seconds));
    }
    char text[HTTP_DATE_N + 1];
    http_date_print(MODIFIED, text);
    assert_string_equal(text, SAME);
    http_date_print(951782400, text);
    assert_string_equal(text, "Tue, 29 Feb 2000 00:00:00 GMT");
    http_date_print(-1, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    for (int64_t day = 0; day < 60000; day += 7) { /* there and back, over leap years */
        int64_t moment = day * 86400 + day % 86400;
        http_date_print(moment, text);
        assert_true(http_date_parse(str_of(text), &seconds));
        assert_int_equal(seconds, moment);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_check), cmocka_unit_test(test_if_range),
                                       cmocka_unit_test(test_dates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
