/* The generation swap without a process: swaps and deaths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "tests/support/test_seat.h"

static int some_file(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* -- the good way -- */

static void swap_goes_round(void **state)
{
    (void)state;
    test_serve_first();
    test_now += SECOND;
    seat_swap(&test_seat, "test", test_now);
    assert_string_equal(test_happened(), "ask 1");
    assert_false(seat_settled(&test_seat));
    assert_true(seat_warm_list(&test_seat, test_generation(1), some_file(), test_now));
    assert_string_equal(test_happened(), "launch warm 2");
    assert_ptr_equal(seat_serving(&test_seat), test_generation(1)); /* until the new one is ready */
    seat_ready(test_generation(2), test_now);
    assert_string_equal(test_happened(), "drain(30000) 1");
    assert_ptr_equal(seat_serving(&test_seat), test_generation(2));
    assert_int_equal(test_seat.swaps, 1);
    seat_heard(test_generation(1), test_now);
    seat_exited(test_generation(1), "with code 0", test_now);
    assert_string_equal(test_happened(), "forget 1");
    assert_true(seat_settled(&test_seat));
    assert_int_equal(seat_next_us(&test_seat), 0);
}

static void cold_without_a_list(void **state)
{
    (void)state;
    test_serve_first();
    seat_swap(&test_seat, "test", test_now);
    test_pass(SECOND / 2);
    assert_string_equal(test_happened(), "ask 1");
    test_pass(SECOND / 2);
    assert_string_equal(test_happened(), "launch 2");
    int late = some_file();
    assert_false(seat_warm_list(&test_seat, test_generation(1), late, test_now)); /* too late: not taken */
    assert_int_equal(close(late), 0);
    assert_string_equal(test_happened(), "");
}

/* -- sleep -- */

static void sleeps_until_somebody_comes(void **state)
{
    (void)state;
    assert_true(seat_sleep(&test_seat, test_now)); /* from the start */
    assert_true(test_seat.asleep && seat_settled(&test_seat));
    assert_int_equal(seat_next_us(&test_seat), 0);
    seat_swap(&test_seat, "test", test_now); /* there is nothing to replace */
    assert_true(seat_settled(&test_seat));
    assert_string_equal(test_happened(), "");
    seat_wake(&test_seat, test_now);
    assert_string_equal(test_happened(), "launch 1");
    seat_wake(&test_seat, test_now); /* it is awake */
    seat_ready(test_generation(1), test_now);
    assert_int_equal(test_let_in, 1);
    assert_false(test_seat.asleep);
    assert_true(seat_sleep(&test_seat, test_now));
    assert_string_equal(test_happened(), "drain(30000) 1");
    seat_exited(test_generation(1), "with code 0", test_now);
    assert_string_equal(test_happened(), "forget 1");
    test_run_until(test_now + 100 * SECOND);
    assert_string_equal(test_happened(), "");
    assert_true(test_seat.asleep);
}

static void does_not_sleep_in_the_middle_of_a_swap(void **state)
{
    (void)state;
    test_serve_first();
    seat_swap(&test_seat, "test", test_now);
    assert_false(seat_sleep(&test_seat, test_now));
    test_pass(SECOND);
    assert_false(seat_sleep(&test_seat, test_now));
    assert_string_equal(test_happened(), "ask 1, launch 2");
}

/* The server ends, and somebody waits for the process that starts. */
static void an_awaited_start_is_not_cut_short(void **state)
{
    (void)state;
    seat_sleep(&test_seat, test_now);
    seat_wake(&test_seat, test_now);
    seat_drain(&test_seat, 30 * SECOND, test_now);
    assert_string_equal(test_happened(), "launch 1");
    seat_ready(test_generation(1), test_now);
    assert_int_equal(test_let_in, 1);
    assert_string_equal(test_happened(), "drain(30000) 1");
}

static void damaged_one_is_asked_shortly(void **state)
{
    (void)state;
    test_serve_first();
    seat_asked(test_generation(1), "a worker crashed", SWAP_DAMAGED, test_now);
    assert_string_equal(test_happened(), "ask 1");
    test_pass(SECOND / 10);
    assert_string_equal(test_happened(), "launch 2");
}

static void swaps_are_one_at_a_time(void **state)
{
    (void)state;
    test_serve_first();
    for (int i = 0; i < 50; i++) {
        seat_swap(&test_seat, "storm", test_now);
    }
    assert_string_equal(test_happened(), "ask 1");
    test_pass(SECOND);
    assert_string_equal(test_happened(), "launch 2");
    for (int i = 0; i < 50; i++) {
        seat_swap(&test_seat, "storm", test_now); /* one more is owed: these may know of something newer */
    }
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 10 * SECOND);
    assert_string_equal(test_happened(), "");
    seat_ready(test_generation(2), test_now);
    assert_string_equal(test_happened(), "drain(30000) 1, ask 2");
    test_pass(SECOND);
    assert_string_equal(test_happened(), "launch 3");
    seat_ready(test_generation(3), test_now);
    assert_string_equal(test_happened(), "drain(30000) 2");
    test_run_until(test_now + SECOND);
    assert_string_equal(test_happened(), ""); /* and that was all */
}

/* A process's own wish is fulfilled by a replacement that is already under way. */
static void own_wish_is_not_owed_twice(void **state)
{
    (void)state;
    test_serve_first();
    seat_swap(&test_seat, "reload", test_now);
    seat_asked(test_generation(1), "memory", SWAP_STATE, test_now);
    test_pass(SECOND);
    seat_asked(test_generation(1), "memory", SWAP_STATE, test_now);
    seat_ready(test_generation(2), test_now);
    assert_string_equal(test_happened(), "ask 1, launch 2, drain(30000) 1");
    seat_asked(test_generation(1), "memory", SWAP_STATE, test_now); /* it drains: nothing more to wish for */
    assert_string_equal(test_happened(), "");
    assert_true(seat_settled(&test_seat));
}

/* What starts may have read already what the old one was told to forget: it is told, and another one follows.
 */
static void renewal_starts_anew(void **state)
{
    (void)state;
    test_serve_first();
    seat_asked(test_generation(1), "reset", SWAP_RENEWAL, test_now);
    assert_string_equal(test_happened(), "ask 1");
    seat_asked(test_generation(1), "reset", SWAP_RENEWAL, test_now); /* nothing has been read yet */
    assert_string_equal(test_happened(), "");
    test_pass(SECOND);
    assert_string_equal(test_happened(), "launch 2");
    seat_asked(test_generation(1), "reset", SWAP_RENEWAL, test_now);
    seat_asked(test_generation(1), "reset", SWAP_RENEWAL, test_now);
    assert_string_equal(test_happened(), "stale 2");
    seat_ready(test_generation(2), test_now);
    assert_string_equal(test_happened(), "drain(30000) 1, ask 2");
    seat_asked(test_generation(1), "reset", SWAP_RENEWAL, test_now); /* a last request of the old one */
    assert_string_equal(test_happened(), "");
    test_pass(SECOND);
    assert_string_equal(test_happened(), "launch 3");
    seat_ready(test_generation(3), test_now);
    assert_string_equal(test_happened(), "drain(30000) 2");
    assert_true(seat_settled(&test_seat));
}

static void swap_to(uint32_t number)
{
    test_pass(SECOND);
    seat_ready(test_generation(number), test_now);
    seat_exited(test_generation(number - 1), "with code 0", test_now);
    test_happened();
}

/* A state that every new process meets is waited on, longer each time; other reasons are not. */
/* What can wait does not make wait what somebody else asks for meanwhile. */
static void another_reason_waits_for_no_state(void **state)
{
    (void)state;
    test_begin_swap(); /* 2 starts */
    for (uint32_t n = 2; n <= 3; n++) {
        seat_asked(test_generation(n), "full", SWAP_STATE, test_now); /* already while it starts */
        if (n == 3) {
            seat_asked(test_generation(2), "changed", SWAP_RENEWAL, test_now);
        }
        seat_ready(test_generation(n), test_now);
        seat_heard(test_generation(n - 1), test_now);
        seat_exited(test_generation(n - 1), "with code 0", test_now);
        test_run_until(test_now + 3 * SECOND);
    }
    assert_int_equal(test_generation(4)->state, GENERATION_STARTING);
}

static void state_met_again_waits(void **state)
{
    (void)state;
    test_serve_first();
    seat_asked(test_generation(1), "full", SWAP_STATE, test_now);
    swap_to(2);
    test_pass(3 * SECOND);
    seat_asked(test_generation(2), "full", SWAP_STATE, test_now);
    test_run_until(test_now + 19 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "ask 2, launch 3");
    swap_to(3);
    test_pass(3 * SECOND);
    seat_asked(test_generation(3), "full", SWAP_STATE, test_now);
    test_run_until(test_now + 30 * SECOND);
    assert_string_equal(test_happened(), "");
    seat_swap(&test_seat, "reload", test_now);
    assert_string_equal(test_happened(), "ask 3");
    swap_to(4);
    test_pass(3 * SECOND);
    seat_asked(test_generation(4), "planned", SWAP_PLANNED, test_now);
    assert_string_equal(test_happened(), "ask 4");
    swap_to(5);
    test_pass(21 * SECOND);
    seat_asked(test_generation(5), "full", SWAP_STATE, test_now);
    assert_string_equal(test_happened(), "ask 5");
}

/* A reset is followed by a swap at once, and one that is asked for while its process starts does, too; one
 * that each new process is asked for waits, longer each time, and is not put off by more of them. */
static void resets_again_and_again_wait(void **state)
{
    (void)state;
    test_serve_first();
    for (uint32_t n = 1; n <= 4; n++) {
        uint64_t waits = n == 1 ? 0 : (1ULL << (n - 1)) * SECOND; /* 0, 2, 4, 8 s */

        for (uint64_t passed = 0; passed < waits; passed += SECOND / 4) {
            seat_asked(test_generation(n), "reset", SWAP_RESET, test_now);
            assert_string_equal(test_happened(), "");
            test_pass(SECOND / 4);
        }
        test_run_until(test_now + SECOND / 2);
        seat_asked(test_generation(n), "reset", SWAP_RESET, test_now);
        test_pass(SECOND);
        seat_ready(test_generation(n + 1), test_now);
        seat_exited(test_generation(n), "with code 0", test_now);
        test_happened();
    }
    seat_asked(test_generation(5), "reset", SWAP_RESET, test_now);
    assert_string_equal(test_happened(), "");
    seat_swap(&test_seat, "reload", test_now);
    assert_string_equal(test_happened(), "ask 5");
    swap_to(6);
    test_run_until(test_now + 4 * SECOND);
    seat_asked(test_generation(6), "reset", SWAP_RESET, test_now);
    assert_string_equal(test_happened(), "ask 6");
    swap_to(7);
    seat_asked(test_generation(7), "reset", SWAP_RESET, test_now);
    assert_string_equal(test_happened(), "");
    test_pass(SECOND);
    seat_asked(test_generation(7), "changed", SWAP_RENEWAL, test_now); /* what is old is used */
    assert_string_equal(test_happened(), "ask 7");
}

static void asked_for_while_it_starts(void **state)
{
    (void)state;
    test_begin_swap();
    seat_asked(test_generation(2), "full", SWAP_STATE, test_now);
    seat_ready(test_generation(2), test_now);
    seat_exited(test_generation(1), "with code 0", test_now);
    test_run_until(test_now + 2 * SECOND);
    test_happened();
    seat_asked(test_generation(3), "full", SWAP_STATE, test_now);
    seat_ready(test_generation(3), test_now);
    seat_exited(test_generation(2), "with code 0", test_now);
    test_happened();
    test_run_until(test_now + 15 * SECOND);
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 10 * SECOND);
    assert_string_equal(test_happened(), "ask 3, launch 4");
}

static void old_ones_do_not_pile_up(void **state)
{
    (void)state;
    test_serve_first();
    for (uint32_t n = 2; n <= 3; n++) {
        test_run_until(test_now + 2 * SECOND);
        seat_swap(&test_seat, "again", test_now);
        test_pass(SECOND);
        seat_ready(test_generation(n), test_now);
        seat_heard(test_generation(n - 1), test_now);
    }
    test_happened();
    test_run_until(test_now + 2 * SECOND);
    seat_swap(&test_seat, "again", test_now);
    test_run_until(test_now + 5 * SECOND);
    assert_string_equal(test_happened(), ""); /* two still drain */
    seat_exited(test_generation(1), "with code 0", test_now);
    assert_string_equal(test_happened(), "forget 1, ask 3");
}

/* -- deaths -- */

static void dead_one_is_replaced_at_once(void **state)
{
    (void)state;
    test_serve_first();
    seat_exited(test_generation(1), "on signal 9", test_now);
    assert_string_equal(test_happened(), "forget 1, launch 2");
    assert_int_equal(test_seat.tokens, test_seat.limits.burst - 1);
    seat_ready(test_generation(2), test_now);
    test_run_until(test_now + 10 * SECOND);
    test_pass(0);
    assert_false(test_seat.crash_loop);
}

static void dead_while_its_list_is_awaited(void **state)
{
    (void)state;
    test_serve_first();
    seat_swap(&test_seat, "test", test_now);
    seat_exited(test_generation(1), "on signal 9", test_now);
    assert_string_equal(test_happened(), "ask 1, forget 1, launch 2");
    seat_ready(test_generation(2), test_now);
    test_run_until(test_now + 5 * SECOND);
    assert_string_equal(test_happened(), ""); /* the swap was done by that */
}

static void dead_while_its_successor_starts(void **state)
{
    (void)state;
    test_begin_swap();
    test_happened();
    seat_exited(test_generation(1), "on signal 9", test_now);
    assert_string_equal(test_happened(), "forget 1"); /* 2 is on its way already */
    seat_ready(test_generation(2), test_now);
    assert_ptr_equal(seat_serving(&test_seat), test_generation(2));
}

/* -- crashes -- */

static void nobody_is_let_in_before(void **state)
{
    (void)state;
    test_serve_first();
    assert_int_equal(test_let_in, 1);
    seat_swap(&test_seat, "test", test_now);
    test_pass(SECOND);
    assert_int_equal(test_let_in, 1);
    seat_ready(test_generation(2), test_now);
    assert_int_equal(test_let_in, 2);
}

/* All its workers are lost: whatever it still runs, the next one is not waited for. */
static void lost_one_is_replaced_at_once(void **state)
{
    (void)state;
    test_serve_first();
    seat_asked(test_generation(1), "a worker crashed", SWAP_DAMAGED, test_now);
    seat_lost(test_generation(1), "no worker can take a request", test_now);
    assert_string_equal(test_happened(), "ask 1, drain(30000) 1, launch 2");
    seat_lost(test_generation(1), "again", test_now);
    seat_ready(test_generation(2), test_now);
    assert_string_equal(test_happened(), "");
    assert_ptr_equal(seat_serving(&test_seat), test_generation(2));
    test_run_until(test_now + 3 * SECOND); /* it is stuck, too */
    assert_string_equal(test_happened(), "");
    test_run_until(test_now + 3 * SECOND);
    assert_string_equal(test_happened(), "kill 1");
}

static void lost_while_its_successor_starts(void **state)
{
    (void)state;
    test_begin_swap();
    test_happened();
    seat_lost(test_generation(1), "no worker can take a request", test_now);
    assert_string_equal(test_happened(), "drain(30000) 1");
    assert_null(seat_serving(&test_seat));
    seat_exited(test_generation(2), "with code 70", test_now); /* which fails: again, soon */
    test_run_until(test_now + SECOND / 2);
    assert_string_equal(test_happened(), "forget 2, launch 3");
}

static void crash_while_it_starts_is_not_forgotten(void **state)
{
    (void)state;
    test_begin_swap();
    test_happened();
    seat_asked(test_generation(2), "a worker crashed", SWAP_DAMAGED, test_now);
    assert_string_equal(test_happened(), "");
    seat_ready(test_generation(2), test_now);
    test_run_until(test_now + 2 * SECOND);
    assert_string_equal(test_happened(), "drain(30000) 1, ask 2, launch 3");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_seat_set_up, test_seat_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(swap_goes_round),
        TEST(cold_without_a_list),
        TEST(an_awaited_start_is_not_cut_short),
        TEST(does_not_sleep_in_the_middle_of_a_swap),
        TEST(sleeps_until_somebody_comes),
        TEST(damaged_one_is_asked_shortly),
        TEST(swaps_are_one_at_a_time),
        TEST(own_wish_is_not_owed_twice),
        TEST(renewal_starts_anew),
        TEST(state_met_again_waits),
        TEST(another_reason_waits_for_no_state),
        TEST(resets_again_and_again_wait),
        TEST(asked_for_while_it_starts),
        TEST(old_ones_do_not_pile_up),
        TEST(dead_one_is_replaced_at_once),
        TEST(dead_while_its_list_is_awaited),
        TEST(dead_while_its_successor_starts),
        TEST(nobody_is_let_in_before),
        TEST(lost_one_is_replaced_at_once),
        TEST(lost_while_its_successor_starts),
        TEST(crash_while_it_starts_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
