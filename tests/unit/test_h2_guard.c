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

static void test_bytes(void **state)
{
    struct h2_guard g;
    (void)state;
    h2_guard_init(&g, 0);
    pay_all(&g, H2_COST_WINDOW_UPDATE, 0);
    h2_guard_received(&g, H2_BYTES_A_POINT - 1);
    assert_false(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    h2_guard_received(&g, 1);
    assert_true(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    h2_guard_sent(&g, H2_SENT_A_POINT - 1, false);
    assert_false(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    h2_guard_sent(&g, 1, false);
    assert_true(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    h2_guard_received(&g, (size_t)1 << 40);
    assert_int_equal(pay_all(&g, H2_COST_WINDOW_UPDATE, 0), H2_BUDGET);
}

/* A response in small pieces, each acknowledged on the stream and on the connection, goes on for ever; a
 * client that makes the pieces small by its window comes to an end. */
static void test_small_answers(void **state)
{
    struct h2_guard g;
    (void)state;
    h2_guard_init(&g, 0);
    for (int i = 0; i < 10 * H2_BUDGET; i++) {
        h2_guard_sent(&g, 20, true);
        assert_true(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
        assert_true(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
    }
    h2_guard_init(&g, 0);
    int pieces = 0;
    while (pieces < 10 * H2_BUDGET && h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0)) {
        h2_guard_sent(&g, 1, false);
        pieces++;
    }
    assert_in_range(pieces, H2_BUDGET, 2 * H2_BUDGET);
    h2_guard_sent(&g, 0, true); /* nothing is no answer */
    assert_false(h2_guard_pay(&g, H2_COST_WINDOW_UPDATE, 0));
}

/* Who cancels some of its requests and lets the others be answered is no flood. */
static void test_answers(void **state)
{
    struct h2_guard g;
    (void)state;
    h2_guard_init(&g, 0);
    assert_in_range(H2_BUDGET / H2_COST_RESET, 640, 1000); /* fewer than libraries allow */
    for (int i = 0; i < H2_BUDGET; i++) {
        h2_guard_answered(&g);
        assert_true(h2_guard_pay(&g, H2_COST_RESET, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_small_answers),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
