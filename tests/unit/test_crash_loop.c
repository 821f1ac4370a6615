/* The generation swap without a process: starts that fail, and what is done about a pool that does not come
 * up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/test_seat.h"

/* -- starts that fail -- */

static void failed_start_leaves_the_old_one(void **state)
{
    (void)state;
    test_begin_swap();
    seat_failed(test_generation(2), "the executor did not start");
    seat_exited(test_generation(2), "with code 70", test_now);
    assert_string_equal(test_happened(), "ask 1, launch 2, forget 2");
    assert_ptr_equal(seat_serving(&test_seat), test_generation(1));
    assert_string_equal(test_seat.last_failure, "the executor did not start");
    test_run_until(test_now + SECOND / 4 - 1);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 2);
    assert_string_equal(test_happened(), "launch 3");
    seat_exited(test_generation(3), "on signal 6 (SIGABRT)",
                test_now); /* says nothing: its end is the reason */
    assert_string_equal(test_seat.last_failure, "on signal 6 (SIGABRT)");
}

static void start_without_end_is_killed(void **state)
{
    (void)state;
    test_begin_swap();
    test_happened();
    test_run_until(test_now + 59 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "kill 2");
    seat_exited(test_generation(2), "on signal 9", test_now);
    assert_string_equal(test_seat.last_failure, "it was not ready after 60 s");
    assert_ptr_equal(seat_serving(&test_seat), test_generation(1));
}

static void no_process_at_all(void **state)
{
    (void)state;
    test_launch_result = -1;
    seat_start(&test_seat, test_now);
    assert_string_equal(test_happened(), "launch 1, forget 1");
    assert_true(seat_empty(&test_seat));
    test_launch_result = 0;
    test_run_until(test_now + SECOND);
    assert_string_equal(test_happened(), "launch 2");
}

static void fail_first(void)
{
    seat_start(&test_seat, test_now);
    seat_exited(test_generation(1), "with code 70", test_now);
}

/* Fails every start until something else happens; when each was tried. */
static unsigned fail_starts(uint64_t end, uint64_t *times, unsigned size)
{
    unsigned count = 0;
    while (test_now < end) {
        test_sleep_until(end);
        struct generation *g = test_seat.generations;
        if (g && g->state == GENERATION_STARTING && !g->standin) {
            assert_true(count < size);
            times[count++] = test_now;
            seat_exited(g, "with code 70", test_now);
        } else if (g && g->state == GENERATION_STARTING) {
            seat_ready(g, test_now);
        }
    }
    return count;
}

static void failed_starts_back_off(void **state)
{
    uint64_t times[64];
    (void)state;
    fail_first();
    uint64_t begun = test_now;
    unsigned count = fail_starts(test_now + 60 * SECOND, times, 64);
    assert_true(times[0] - begun >= SECOND / 4);
    for (unsigned i = 1; i < count; i++) {
        uint64_t gap = times[i] - times[i - 1];
        uint64_t wanted = (SECOND / 2) << (i - 1 < 10 ? i - 1 : 10);
        wanted = wanted < 10 * SECOND ? wanted : 10 * SECOND;
        assert_true(gap >= wanted && gap <= wanted + SECOND / 100);
    }
    assert_in_range(count, 8, 14); /* in a minute, never a storm */
    assert_true(test_seat.crash_loop);
}

/* -- crash loop -- */

static void crash_loop_gets_a_standin(void **state)
{
    uint64_t times[64];
    (void)state;
    fail_first();
    fail_starts(test_now + 20 * SECOND, times, 64);
    assert_true(test_seat.crash_loop);
    struct generation *standin = seat_serving(&test_seat);
    assert_non_null(standin);
    assert_true(standin->standin);
    uint32_t standin_number = standin->number;
    test_happened();
    test_run_until(test_now + 11 * SECOND);
    struct generation *real = test_seat.generations;
    assert_int_equal(real->state, GENERATION_STARTING);
    seat_ready(real, test_now);
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "launch %u, drain(30000) %u", real->number, standin_number);
    assert_string_equal(test_happened(), wanted);
    assert_ptr_equal(seat_serving(&test_seat), real);
    assert_int_equal(test_seat.swaps, 0); /* that was no swap */
    test_run_until(test_now + 10 * SECOND);
    assert_false(test_seat.crash_loop);
}

static void no_standin_beside_another_seat(void **state)
{
    uint64_t times[64];
    (void)state;
    test_others = true;
    fail_first();
    fail_starts(test_now + 20 * SECOND, times, 64);
    assert_true(test_seat.crash_loop);
    assert_null(seat_serving(&test_seat));
    test_others = false; /* it died, too */
    fail_starts(test_now + 5 * SECOND, times, 64);
    assert_non_null(seat_serving(&test_seat));
    assert_true(seat_serving(&test_seat)->standin);
    test_happened();
    test_others = true; /* it is back: the stand-in must not answer its requests */
    test_pass(SECOND);
    assert_non_null(strstr(test_happened(), "drain(30000)"));
    assert_null(seat_serving(&test_seat));
}

static void standin_that_dies_is_no_storm(void **state)
{
    uint64_t end = test_now + 60 * SECOND;
    unsigned standins = 0;
    (void)state;
    seat_start(&test_seat, test_now);
    while (test_now < end) {
        struct generation *g = test_seat.generations;
        if (g) {
            standins += g->standin;
            seat_exited(g, "on signal 11", test_now);
        }
        test_sleep_until(end);
        assert_true(test_seat.last_number < 200);
    }
    assert_in_range(standins, 2, 8);
}

/* Ready, and dead at once: the burst is used up, then one at the pace of the refill. */
static void dying_at_once_is_slowed_down(void **state)
{
    uint64_t end = test_now + 60 * SECOND;
    unsigned starts = 0;
    (void)state;
    seat_start(&test_seat, test_now);
    while (test_now < end) {
        struct generation *g = test_seat.generations;
        while (g && g->standin) {
            g = g->next;
        }
        if (g && g->state == GENERATION_STARTING) {
            starts++;
            test_now += SECOND / 100;
            seat_ready(g, test_now);
            for (struct generation *old = test_seat.generations, *next; old; old = next) {
                next = old->next;
                if (old->state == GENERATION_DRAINING) {
                    seat_exited(old, "with code 0", test_now);
                }
            }
            seat_exited(g, "on signal 11", test_now);
        } else if (test_seat.generations && test_seat.generations->state == GENERATION_STARTING) {
            seat_ready(test_seat.generations, test_now);
        }
        if (test_seat.generations && test_seat.generations->state == GENERATION_STARTING) {
            continue;
        }
        test_sleep_until(end);
    }
    assert_true(test_seat.crash_loop);
    assert_in_range(starts, 20, 40); /* 3 of the burst and one every 2 s */
    assert_non_null(strstr(test_seat.last_failure, "signal 11"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_seat_set_up, test_seat_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(failed_start_leaves_the_old_one),
        TEST(start_without_end_is_killed),
        TEST(no_process_at_all),
        TEST(failed_starts_back_off),
        TEST(crash_loop_gets_a_standin),
        TEST(no_standin_beside_another_seat),
        TEST(standin_that_dies_is_no_storm),
        TEST(dying_at_once_is_slowed_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
