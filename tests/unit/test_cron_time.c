/* When a line of crontab(5) is due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/cron_time.h"

static time_t at(const char *text)
{
    struct tm t = {.tm_isdst = -1};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &t));
    return mktime(&t);
}

static time_t at_utc(const char *text)
{
    struct tm t = {0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &t));
    return timegm(&t);
}

struct next_case {
    const char *fields, *after, *next;
};

static void check(const struct next_case *cases, size_t n, time_t (*moment)(const char *text))
{
    for (size_t i = 0; i < n; i++) {
        struct cron_time t;
        struct str text = str_of(cases[i].fields);

        print_message("%s after %s\n", cases[i].fields, cases[i].after);
        assert_true(cron_time_read(&t, &text));
        assert_int_equal(text.n, 0);
        assert_int_equal(cron_time_next(&t, moment(cases[i].after)), moment(cases[i].next));
    }
}

static void test_next(void **state)
{
    (void)state;
    static const struct next_case cases[] = {
        {"* * * * *", "2026-11-27 10:00", "2026-11-27 10:01"},
        {"*/5 * * * *", "2026-11-27 10:00", "2026-11-27 10:05"},
        {"*/5 * * * *", "2026-11-27 10:58", "2026-11-27 11:00"},
        {"7/20 * * * *", "2026-11-27 10:08", "2026-11-27 10:27"},
        {"0 3 * * *", "2026-11-27 10:00", "2026-11-28 03:00"},
        {"30 4 1,15 * *", "2026-11-16 00:00", "2026-12-01 04:30"},
        {"0 0 1 1 *", "2026-11-27 10:00", "2027-01-01 00:00"},
        {"0 9-17/4 * * mon-fri", "2026-11-27 13:00", "2026-11-27 17:00"},
        {"0 9-17/4 * * mon-fri", "2026-11-27 17:00", "2026-11-30 09:00"},
        {"0 0 13 * fri", "2026-11-27 10:00", "2026-12-04 00:00"},
        {"0 0 * * 7", "2026-11-27 10:00", "2026-11-29 00:00"},
        {"0 0 29 feb *", "2026-11-27 10:00", "2028-02-29 00:00"},
        {"59 23 31 12 *", "2026-11-27 10:00", "2026-12-31 23:59"},
        {"@hourly", "2026-11-27 10:00", "2026-11-27 11:00"},
        {"@weekly", "2026-11-27 10:00", "2026-11-29 00:00"},
        {"30 2 * * *", "2026-03-27 12:00", "2026-03-28 02:30"},
    };
    check(cases, sizeof cases / sizeof cases[0], at);
}

/* In UTC: the clock shows 3:00 after 1:59 on the 29th of March, and 2:00 again after 2:59 on the 25th of
 * October. */
static void test_a_clock_that_is_set(void **state)
{
    (void)state;
    static const struct next_case cases[] = {
        {"30 2 * * *", "2026-03-28 12:00", "2026-03-29 01:00"}, /* there is no 2:30 */
        {"30 2 * * *", "2026-03-29 01:00", "2026-03-30 00:30"},
        {"@daily", "2026-03-28 12:00", "2026-03-28 23:00"},
        {"15,45 2-3 * * *", "2026-03-29 00:30", "2026-03-29 01:00"},
        {"15,45 2-3 * * *", "2026-03-29 01:00", "2026-03-29 01:15"},
        {"0 3 * * *", "2026-03-28 12:00", "2026-03-29 01:00"},
        {"30 2 * * mon", "2026-03-28 12:00", "2026-03-30 00:30"},
        {"*/20 * * * *", "2026-03-29 00:40", "2026-03-29 01:00"},
        {"30 * * * *", "2026-03-29 00:30", "2026-03-29 01:30"},
        {"30 2 * * *", "2026-10-24 12:00", "2026-10-25 00:30"}, /* the first of two */
        {"30 2 * * *", "2026-10-25 00:30", "2026-10-26 01:30"},
        {"0 3 * * *", "2026-10-24 12:00", "2026-10-25 02:00"},
        {"*/20 * * * *", "2026-10-25 00:40", "2026-10-25 01:00"},
        {"*/20 * * * *", "2026-10-25 01:40", "2026-10-25 02:00"},
        {"* * * * *", "2026-10-25 00:59", "2026-10-25 01:00"},
        {"30 * * * *", "2026-10-25 00:30", "2026-10-25 01:30"},
    };
    check(cases, sizeof cases / sizeof cases[0], at_utc);
}

static void test_never(void **state)
{
    (void)state;
    struct cron_time t;
    struct str text = STR("0 0 30 2 *");

    assert_true(cron_time_read(&t, &text));
    assert_int_equal(cron_time_next(&t, at("2026-11-27 10:00")), -1);
}

static void test_what_follows(void **state)
{
    (void)state;
    struct cron_time t;
    struct str text = STR("*/5 * * * *   /bin/true a  b"), word = STR("@daily  x y");

    assert_true(cron_time_read(&t, &text));
    assert_true(str_eq(text, STR("/bin/true a  b")));
    assert_true(cron_time_read(&t, &word));
    assert_true(str_eq(word, STR("x y")));
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",           "* * * *",       "60 * * * *",  "* 24 * * *",  "* * 0 * *",
        "* * * 13 *", "* * * * 8",     "5-1 * * * *", "*/0 * * * *", "a * * * *",
        "1, * * * *", "1-2-3 * * * *", "@never",      "-1 * * * *"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct cron_time t;
        struct str text = str_of(wrong[i]);

        print_message("%s\n", wrong[i]);
        assert_false(cron_time_read(&t, &text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),    cmocka_unit_test(test_a_clock_that_is_set),
        cmocka_unit_test(test_never),   cmocka_unit_test(test_what_follows),
        cmocka_unit_test(test_refused),
    };
    setenv("TZ", "Europe/Berlin", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
