/* The generation swap without a process: how generations drain and seats end, and an earlier image's
 * processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "tests/support/test_seat.h"

/* -- drain -- */

static void drain_has_its_time_once_confirmed(void **state)
{
    (void)state;
    test_begin_swap();
    seat_ready(test_generation(2), test_now);
    uint64_t heard = test_now + 4 * SECOND;
    test_run_until(heard);
    test_happened();
    seat_heard(test_generation(1), test_now);
    test_run_until(heard + 29 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(heard + 31 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
    seat_exited(test_generation(1), "on signal 9", test_now);
    assert_string_equal(test_happened(), "forget 1");
    assert_int_equal(seat_next_us(&test_seat), 0);
}

static void deaf_one_is_not_waited_for(void **state)
{
    (void)state;
    test_begin_swap();
    seat_ready(test_generation(2), test_now);
    test_happened();
    test_run_until(test_now + 4 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
}

static void crash_while_draining_costs_nothing_more(void **state)
{
    (void)state;
    test_begin_swap();
    seat_ready(test_generation(2), test_now);
    test_happened();
    seat_exited(test_generation(1), "on signal 11", test_now);
    assert_string_equal(test_happened(), "forget 1");
    assert_int_equal(test_seat.tokens, test_seat.limits.burst);
    assert_ptr_equal(seat_serving(&test_seat), test_generation(2));
}

/* -- the end -- */

static void end_politely(void **state)
{
    (void)state;
    test_begin_swap();
    test_happened();
    seat_drain(&test_seat, 7 * SECOND, test_now);
    assert_string_equal(test_happened(), "kill 2, drain(7000) 1"); /* 2 has let nobody in */
    seat_heard(test_generation(1), test_now);
    seat_swap(&test_seat, "too late", test_now);
    seat_ready(test_generation(2), test_now); /* was on its way */
    seat_exited(test_generation(2), "on signal 9", test_now);
    assert_string_equal(test_happened(), "forget 2");
    assert_int_equal(test_let_in, 1);
    test_run_until(test_now + 6 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
    seat_exited(test_generation(1), "on signal 9", test_now);
    assert_true(seat_empty(&test_seat));
    test_run_until(test_now + 60 * SECOND);
    assert_string_equal(test_happened(), "forget 1");
}

/* It has not confirmed the order because it does not run; once it could have, it is not waited for. */
static void who_starves_is_waited_for(void **state)
{
    (void)state;
    test_serve_first();
    test_starves = true;
    seat_drain(&test_seat, 30 * SECOND, test_now);
    test_run_until(test_now + 20 * SECOND);
    assert_string_equal(test_happened(), "drain(30000) 1");
    test_starves = false;
    test_run_until(test_now + 6 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
}

static void nobody_is_waited_for_longer_than_the_drain(void **state)
{
    (void)state;
    test_serve_first();
    test_starves = true;
    seat_drain(&test_seat, 30 * SECOND, test_now);
    test_run_until(test_now + 29 * SECOND);
    assert_string_equal(test_happened(), "drain(30000) 1");
    test_run_until(test_now + 7 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
}

static void end_now(void **state)
{
    (void)state;
    test_begin_swap();
    test_happened();
    seat_stop(&test_seat, test_now);
    assert_string_equal(test_happened(), "kill 2, stop 1");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
    seat_exited(test_generation(1), "on signal 9", test_now);
    seat_exited(test_generation(2), "on signal 9", test_now);
    assert_true(seat_empty(&test_seat));
    assert_int_equal(seat_next_us(&test_seat), 0);
}

static void stop_after_drain(void **state)
{
    (void)state;
    test_serve_first();
    seat_drain(&test_seat, 30 * SECOND, test_now);
    seat_heard(test_generation(1), test_now);
    test_happened();
    test_now += SECOND;
    seat_stop(&test_seat, test_now);
    assert_string_equal(test_happened(), "stop 1");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
}

/* -- an earlier image's processes -- */

static void adopted_one_serves_until_ready(void **state)
{
    (void)state;
    struct generation *g = seat_adopt(&test_seat, 7, GENERATION_READY, 42, 0, test_now);
    assert_ptr_equal(seat_find(&test_seat, 42), g);
    assert_null(seat_find(&test_seat, 43));
    seat_start(&test_seat, test_now);
    assert_string_equal(test_happened(), "ask 7");
    assert_true(seat_warm_list(&test_seat, g, open("/dev/null", O_RDONLY | O_CLOEXEC), test_now));
    assert_string_equal(test_happened(), "launch warm 8");
    seat_ready(test_generation(8), test_now);
    assert_string_equal(test_happened(), "drain(30000) 7");
}

static void adopted_drain_keeps_its_deadline(void **state)
{
    (void)state;
    seat_adopt(&test_seat, 6, GENERATION_DRAINING, 41, test_now + 9 * SECOND, test_now);
    test_run_until(test_now + 8 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "kill 6");
}

static void adopted_start_goes_on(void **state)
{
    (void)state;
    seat_adopt(&test_seat, 3, GENERATION_READY, 40, 0, test_now);
    seat_adopt(&test_seat, 4, GENERATION_STARTING, 41, test_now + 60 * SECOND, test_now);
    seat_start(&test_seat, test_now);
    assert_string_equal(test_happened(), ""); /* the new configuration's own one comes after it */
    test_run_until(test_now + 5 * SECOND);
    seat_ready(test_generation(4), test_now);
    assert_string_equal(test_happened(), "drain(30000) 3, ask 4");
}

/* -- a seat that fades: its pool, or its place, is not configured any more -- */

static void fading_seat_starts_nothing(void **state)
{
    (void)state;
    struct generation *g = seat_adopt(&test_seat, 5, GENERATION_READY, 42, 0, test_now);
    seat_fade(&test_seat);
    seat_asked(g, "a worker crashed", SWAP_DAMAGED, test_now);
    seat_swap(&test_seat, "opcache_reset() was called", test_now);
    seat_start(&test_seat, test_now);
    test_run_until(test_now + 30 * SECOND);
    assert_string_equal(test_happened(), "");
    assert_ptr_equal(seat_serving(&test_seat), g); /* it serves on */
    seat_exited(g, "on signal 9", test_now);
    test_run_until(test_now + 30 * SECOND);
    assert_string_equal(test_happened(), "forget 5");
    assert_true(seat_settled(&test_seat));
}

static void fading_seat_lets_a_start_end(void **state)
{
    (void)state;
    seat_adopt(&test_seat, 5, GENERATION_READY, 42, 0, test_now);
    seat_adopt(&test_seat, 6, GENERATION_STARTING, 43, test_now + 60 * SECOND, test_now);
    seat_adopt(&test_seat, 7, GENERATION_STARTING, 44, test_now + 60 * SECOND, test_now);
    seat_fade(&test_seat);
    seat_ready(test_generation(6), test_now);
    assert_string_equal(test_happened(), "drain(30000) 5");
    seat_exited(test_generation(7), "with code 70", test_now);
    seat_exited(test_generation(6), "on signal 11", test_now);
    test_run_until(test_now + 4 * SECOND);
    assert_string_equal(test_happened(), "forget 7, forget 6");
    seat_drain(&test_seat, 30 * SECOND, test_now);
    seat_fade(&test_seat); /* what ends does not fade any more */
    assert_int_equal(test_seat.role, SEAT_ENDS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_seat_set_up, test_seat_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(drain_has_its_time_once_confirmed),
        TEST(deaf_one_is_not_waited_for),
        TEST(crash_while_draining_costs_nothing_more),
        TEST(end_politely),
        TEST(who_starves_is_waited_for),
        TEST(nobody_is_waited_for_longer_than_the_drain),
        TEST(end_now),
        TEST(stop_after_drain),
        TEST(adopted_one_serves_until_ready),
        TEST(adopted_drain_keeps_its_deadline),
        TEST(adopted_start_goes_on),
        TEST(fading_seat_starts_nothing),
        TEST(fading_seat_lets_a_start_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
