/* Range fields: what they ask for, and what is not worth answering. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/wire/range.h"

/* The parts as "0-4 9-9", or "whole", or "none". */
static const char *parse(struct str value, uint64_t size)
{
    static char text[1024];
    struct range ranges[RANGE_MAX];
    size_t count, n = 0;
    switch (range_parse(value, size, ranges, &count)) {
    case RANGE_WHOLE: return "whole";
    case RANGE_UNSATISFIABLE: return "none";
    case RANGE_PARTS: break;
    }
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%llu-%llu", i > 0 ? " " : "",
                              (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].last);
    }
    return text;
}

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *value, *expected;
    } rows[] = {
        {"bytes=0-4", "0-4"},
        {"bytes=0-0", "0-0"},
        {"bytes=9-9", "9-9"},
        {"bytes=9-", "9-9"},
        {"bytes=5-100", "5-9"},
        {"bytes=-3", "7-9"},
        {"bytes=-100", "0-9"},
        {"bytes=0-0,-1", "0-0 9-9"},
        {"bytes=4-5, 0-1 ,,8-", "4-5 0-1 8-9"},
        {"bytes=0-1,20-30", "0-1"},
        {"BYTES=0-1", "0-1"},
        {"bytes=10-", "none"},
        {"bytes=10-20,30-", "none"},
        {"bytes=-0", "none"},
        {"bytes=18446744073709551616-", "none"},
        {"bytes=0-99999999999999999999999", "0-9"},
        {"bytes=5-4", "whole"},
        {"bytes=0-4,2-6", "whole"},
        {"bytes=0-1,0-1", "whole"},
        {"bytes=0-,0-,0-,0-", "whole"},
        {"bytes=", "whole"},
        {"bytes=,", "whole"},
        {"bytes=-", "whole"},
        {"bytes=a-b", "whole"},
        {"bytes=0-4x", "whole"},
        {"bytes=+0-4", "whole"},
        {"bytes=0--4", "whole"},
        {"bytes 0-4", "whole"},
        {"lines=0-4", "whole"},
        {"", "whole"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *got = parse(str_of(rows[i].value), 10);
        if (strcmp(got, rows[i].expected) != 0) {
            fail_msg("%s: got %s, expected %s", rows[i].value, got, rows[i].expected);
        }
    }
    assert_string_equal(parse(STR("bytes=0-"), 0), "none");
    assert_string_equal(parse(STR("bytes=-1"), 0), "none");
}

/* Sixteen parts are fine, seventeen are not: neither apart nor beyond the end. */
static void test_count(void **state)
{
    (void)state;
    char value[512] = "bytes=";
    for (int i = 0; i < RANGE_MAX; i++) {
        sprintf(value + strlen(value), "%d-%d,", i * 10, i * 10);
    }
    assert_string_not_equal(parse(str_of(value), 10000), "whole");
    strcat(value, "500-500");
    assert_string_equal(parse(str_of(value), 10000), "whole");
    assert_string_equal(parse(str_of(value), 5), "whole");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
