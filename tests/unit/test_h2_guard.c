/* The budget of an HTTP/2 client: it ends, it comes back with time and with useful traffic, never beyond its
 * size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "http/wire/h2_guard.h"

static int pay_all(struct h2_guard *g, enum h2_cost cost, uint64_t now)
{
    int count = 0;
    while (h2_guard_pay(g, cost, now)) {
        count++;
    }
    return count;
}

static void test_budget(void **state)
{
    struct h2_guard g;
    uint64_t now = 1000000;
    (void)state;
    h2_guard_init(&g, now);
    assert_int_equal(pay_all(&g, H2_COST_RESET, now), H2_BUDGET / H2_COST_RESET);
    now += CLOCK_US_PER_SECOND;
    assert_int_equal(pay_all(&g, H2_COST_RESET, now), H2_BUDGET_A_SECOND / H2_COST_RESET);
    now += 1000 * CLOCK_US_PER_SECOND;
    assert_int_equal(pay_all(&g, H2_COST_RESET, now), H2_BUDGET / H2_COST_RESET);
    assert_false(h2_guard_pay(&g, H2_COST_PING, now - CLOCK_US_PER_SECOND)); /* a clock that is late */
}

static void test_earning(void **state)
{
    struct h2_guard g;
    (void)state;
    h2_guard_init(&g, 0);
    pay_all(&g, H2_COST_WINDOW_UPDATE, 0);
    h2_guard_earn(&g, H2_BYTES_A_POINT - 1);
    assert_false(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    h2_guard_earn(&g, 1);
    assert_true(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    h2_guard_earn(&g, (size_t)1 << 40);
    assert_int_equal(pay_all(&g, H2_COST_WINDOW_UPDATE, 0), H2_BUDGET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_earning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
