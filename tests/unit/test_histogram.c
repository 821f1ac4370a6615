/* The buckets tile the numbers without gap or overlap, and percentiles are right to an eighth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/telemetry/histogram.h"

static void test_buckets_tile(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        uint64_t upper = histogram_upper(i);
        assert_int_equal(histogram_bucket(upper), i);
        assert_int_equal(histogram_bucket(upper + 1), i + 1);
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(0), 0);
}

static void test_percentiles(void **state)
{
    (void)state;
    struct histogram *h = calloc(1, sizeof(*h));
    struct histogram_sum *sum = calloc(1, sizeof(*sum));
    assert_int_equal(histogram_percentile(sum, 50), 0);
    for (uint64_t us = 1; us <= 10000; us++) {
        histogram_add(h, us);
    }
    histogram_merge(sum, h);
    assert_int_equal(sum->count, 10000);
    assert_int_equal(sum->sum_us, 50005000);
    assert_in_range(histogram_percentile(sum, 50), 5000, 5000 * 9 / 8);
    assert_in_range(histogram_percentile(sum, 99), 9900, 9900 * 9 / 8);
    assert_in_range(histogram_percentile(sum, 100), 10000, 10000 * 9 / 8);
    assert_int_equal(histogram_percentile(sum, 0.001), 1);
    assert_int_equal(histogram_count_below(sum, 1023), 1023);
    histogram_merge(sum, h);
    assert_int_equal(sum->count, 20000);
    free(h);
    free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_buckets_tile),
                                       cmocka_unit_test(test_percentiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
