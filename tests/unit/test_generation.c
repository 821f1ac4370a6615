/* The generation swap without a process: a table of functions that writes down what the machine asks for, and
 * a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/generation.h"

#define SECOND CLOCK_US_PER_SECOND

static char did[4096]; /* what was asked for, in words */
static uint64_t now;
static int launch_result, last_warm_fd;
static pid_t next_pid;
static bool others;
static struct seat seat;

static void note(const char *verb, const struct generation *g)
{
    size_t n = strlen(did);
    snprintf(did + n, sizeof(did) - n, "%s%s %u", n > 0 ? ", " : "", verb, g->number);
}

static int on_launch(struct seat *s, struct generation *g, int warm_fd)
{
    (void)s;
    note(g->standin ? "standin" : warm_fd >= 0 ? "launch warm" : "launch", g);
    last_warm_fd = warm_fd;
    if (warm_fd >= 0) {
        close(warm_fd);
    }
    g->pid = next_pid++;
    return launch_result;
}

static void on_ask(struct generation *g)
{
    note("ask", g);
}

static void on_drain(struct generation *g, unsigned ms)
{
    char verb[32];
    snprintf(verb, sizeof(verb), "drain(%u)", ms);
    note(verb, g);
}

static void on_stop(struct generation *g)
{
    note("stop", g);
}

static void on_kill(struct generation *g)
{
    note("kill", g);
}

static void on_forget(struct generation *g)
{
    note("forget", g);
}

static void on_changed(struct seat *s)
{
    assert_ptr_equal(s, &seat);
}

static bool on_others(const struct seat *s)
{
    (void)s;
    return others;
}

static const struct generation_hooks hooks = {.launch = on_launch,
                                              .ask_warm_list = on_ask,
                                              .drain = on_drain,
                                              .stop = on_stop,
                                              .kill = on_kill,
                                              .forget = on_forget,
                                              .changed = on_changed,
                                              .others_serve = on_others};

static const struct generation_limits limits = {
    .start_us = 60 * SECOND,
    .drain_us = 30 * SECOND,
    .heard_us = 5 * SECOND,
    .stop_us = 1 * SECOND,
    .warm_us = 1 * SECOND,
    .damaged_us = SECOND / 10,
    .swap_gap_us = 1 * SECOND,
    .max_draining = 2,
    .burst = 3,
    .refill_us = 2 * SECOND,
    .retry_us = SECOND / 4,
    .retry_max_us = 10 * SECOND,
};

static int set_up(void **state)
{
    (void)state;
    log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    did[0] = '\0';
    now = 1000 * SECOND;
    launch_result = 0;
    next_pid = 100;
    others = false;
    seat_init(&seat, "www", 0, &hooks, &limits, now);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    seat_free(&seat);
    close(log_fd());
    log_to_fd(STDERR_FILENO);
    return 0;
}

/* What happened since the last question. */
static const char *happened(void)
{
    static char last[sizeof(did)];
    memcpy(last, did, sizeof(did));
    did[0] = '\0';
    return last;
}

static struct generation *number(uint32_t n)
{
    struct generation *g = seat.generations;
    while (g && g->number != n) {
        g = g->next;
    }
    assert_non_null(g);
    return g;
}

static void pass(uint64_t us)
{
    now += us;
    seat_tick(&seat, now);
}

/* Does what the supervisor's loop does: sleeps until the machine has something to do. A machine that names
 * times at which it does nothing would turn this, and the supervisor, into a busy loop. */
static unsigned run_until(uint64_t end)
{
    unsigned turns = 0;
    while (now < end) {
        uint64_t next = seat_next_us(&seat);
        now = next == 0 || next > end ? end : next > now ? next : now;
        seat_tick(&seat, now);
        if (++turns > 1000) {
            fail_msg("the machine spins at %llu (next %llu)", (unsigned long long)now,
                     (unsigned long long)next);
        }
    }
    return turns;
}

static void serve_first(void)
{
    seat_start(&seat, now);
    assert_string_equal(happened(), "launch 1");
    seat_ready(number(1), now);
    assert_string_equal(happened(), "");
    assert_ptr_equal(seat_serving(&seat), number(1));
}

static int some_file(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- the good way */

static void swap_goes_round(void **state)
{
    (void)state;
    serve_first();
    now += SECOND;
    seat_swap(&seat, "test", now);
    assert_string_equal(happened(), "ask 1");
    assert_false(seat_settled(&seat));
    seat_warm_list(&seat, number(1), some_file(), now);
    assert_string_equal(happened(), "launch warm 2");
    assert_ptr_equal(seat_serving(&seat), number(1)); /* until the new one is ready */
    seat_ready(number(2), now);
    assert_string_equal(happened(), "drain(30000) 1");
    assert_ptr_equal(seat_serving(&seat), number(2));
    assert_int_equal(seat.swaps, 1);
    seat_heard(number(1), now);
    seat_exited(number(1), "with code 0", now);
    assert_string_equal(happened(), "forget 1");
    assert_true(seat_settled(&seat));
    assert_int_equal(seat_next_us(&seat), 0);
}

static void cold_without_a_list(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND / 2);
    assert_string_equal(happened(), "ask 1");
    pass(SECOND / 2);
    assert_string_equal(happened(), "launch 2");
    int late = some_file();
    seat_warm_list(&seat, number(1), late, now); /* too late: closed, nothing else */
    assert_int_equal(fcntl(late, F_GETFD), -1);
    assert_string_equal(happened(), "");
}

static void damaged_one_is_asked_shortly(void **state)
{
    (void)state;
    serve_first();
    seat_asked(number(1), "a worker crashed", true, now);
    assert_string_equal(happened(), "ask 1");
    pass(SECOND / 10);
    assert_string_equal(happened(), "launch 2");
}

static void swaps_are_one_at_a_time(void **state)
{
    (void)state;
    serve_first();
    for (int i = 0; i < 50; i++) {
        seat_swap(&seat, "storm", now);
    }
    assert_string_equal(happened(), "ask 1");
    pass(SECOND);
    assert_string_equal(happened(), "launch 2");
    for (int i = 0; i < 50; i++) {
        seat_swap(&seat, "storm", now); /* one more is owed: these may know of something newer */
    }
    assert_string_equal(happened(), "");
    run_until(now + 10 * SECOND);
    assert_string_equal(happened(), "");
    seat_ready(number(2), now);
    assert_string_equal(happened(), "drain(30000) 1, ask 2");
    pass(SECOND);
    assert_string_equal(happened(), "launch 3");
    seat_ready(number(3), now);
    assert_string_equal(happened(), "drain(30000) 2");
    run_until(now + SECOND);
    assert_string_equal(happened(), ""); /* and that was all */
}

/* A process's own wish is fulfilled by a replacement that is already under way. */
static void own_wish_is_not_owed_twice(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "reload", now);
    seat_asked(number(1), "memory", false, now);
    pass(SECOND);
    seat_asked(number(1), "memory", false, now);
    seat_ready(number(2), now);
    assert_string_equal(happened(), "ask 1, launch 2, drain(30000) 1");
    seat_asked(number(1), "memory", false, now); /* it drains: nothing more to wish for */
    assert_string_equal(happened(), "");
    assert_true(seat_settled(&seat));
}

static void old_ones_do_not_pile_up(void **state)
{
    (void)state;
    serve_first();
    for (uint32_t n = 2; n <= 3; n++) {
        run_until(now + 2 * SECOND);
        seat_swap(&seat, "again", now);
        pass(SECOND);
        seat_ready(number(n), now);
        seat_heard(number(n - 1), now);
    }
    happened();
    run_until(now + 2 * SECOND);
    seat_swap(&seat, "again", now);
    run_until(now + 5 * SECOND);
    assert_string_equal(happened(), ""); /* two still drain */
    seat_exited(number(1), "with code 0", now);
    assert_string_equal(happened(), "forget 1, ask 3");
}

/* ---- drain */

static void drain_has_its_time_once_confirmed(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    seat_ready(number(2), now);
    uint64_t heard = now + 4 * SECOND;
    run_until(heard);
    happened();
    seat_heard(number(1), now);
    run_until(heard + 29 * SECOND);
    assert_string_equal(happened(), "");
    run_until(heard + 31 * SECOND);
    assert_string_equal(happened(), "kill 1");
    seat_exited(number(1), "on signal 9", now);
    assert_string_equal(happened(), "forget 1");
    assert_int_equal(seat_next_us(&seat), 0);
}

static void deaf_one_is_not_waited_for(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    seat_ready(number(2), now);
    happened();
    run_until(now + 4 * SECOND);
    assert_string_equal(happened(), "");
    run_until(now + 2 * SECOND);
    assert_string_equal(happened(), "kill 1");
}

static void crash_while_draining_costs_nothing_more(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    seat_ready(number(2), now);
    happened();
    seat_exited(number(1), "on signal 11", now);
    assert_string_equal(happened(), "forget 1");
    assert_int_equal(seat.tokens, limits.burst);
    assert_ptr_equal(seat_serving(&seat), number(2));
}

/* ---- deaths */

static void dead_one_is_replaced_at_once(void **state)
{
    (void)state;
    serve_first();
    seat_exited(number(1), "on signal 9", now);
    assert_string_equal(happened(), "forget 1, launch 2");
    assert_int_equal(seat.tokens, limits.burst - 1);
    seat_ready(number(2), now);
    run_until(now + 10 * SECOND);
    pass(0);
    assert_false(seat.crash_loop);
}

static void dead_while_its_list_is_awaited(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    seat_exited(number(1), "on signal 9", now);
    assert_string_equal(happened(), "ask 1, forget 1, launch 2");
    seat_ready(number(2), now);
    run_until(now + 5 * SECOND);
    assert_string_equal(happened(), ""); /* the swap was done by that */
}

static void dead_while_its_successor_starts(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    happened();
    seat_exited(number(1), "on signal 9", now);
    assert_string_equal(happened(), "forget 1"); /* 2 is on its way already */
    seat_ready(number(2), now);
    assert_ptr_equal(seat_serving(&seat), number(2));
}

/* ---- starts that fail */

static void failed_start_leaves_the_old_one(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    seat_failed(number(2), "the executor did not start");
    seat_exited(number(2), "with code 70", now);
    assert_string_equal(happened(), "ask 1, launch 2, forget 2");
    assert_ptr_equal(seat_serving(&seat), number(1));
    assert_string_equal(seat.last_failure, "the executor did not start");
    run_until(now + SECOND / 4 - 1);
    assert_string_equal(happened(), "");
    run_until(now + 2);
    assert_string_equal(happened(), "launch 3");
    seat_exited(number(3), "on signal 6 (SIGABRT)", now); /* says nothing: its end is the reason */
    assert_string_equal(seat.last_failure, "on signal 6 (SIGABRT)");
}

static void start_without_end_is_killed(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    happened();
    run_until(now + 59 * SECOND);
    assert_string_equal(happened(), "");
    run_until(now + 2 * SECOND);
    assert_string_equal(happened(), "kill 2");
    seat_exited(number(2), "on signal 9", now);
    assert_string_equal(seat.last_failure, "it was not ready after 60 s");
    assert_ptr_equal(seat_serving(&seat), number(1));
}

static void no_process_at_all(void **state)
{
    (void)state;
    launch_result = -1;
    seat_start(&seat, now);
    assert_string_equal(happened(), "launch 1, forget 1");
    assert_true(seat_empty(&seat));
    launch_result = 0;
    run_until(now + SECOND);
    assert_string_equal(happened(), "launch 2");
}

/* Fails every start until something else happens; when each was tried. */
static unsigned fail_starts(uint64_t end, uint64_t *times, unsigned size)
{
    unsigned count = 0;
    while (now < end) {
        uint64_t next = seat_next_us(&seat);
        now = next == 0 || next > end ? end : next > now ? next : now;
        seat_tick(&seat, now);
        struct generation *g = seat.generations;
        if (g && g->state == GENERATION_STARTING && !g->standin) {
            assert_true(count < size);
            times[count++] = now;
            seat_exited(g, "with code 70", now);
        } else if (g && g->state == GENERATION_STARTING) {
            seat_ready(g, now);
        }
    }
    return count;
}

static void failed_starts_back_off(void **state)
{
    uint64_t times[64];
    (void)state;
    seat_start(&seat, now);
    seat_exited(number(1), "with code 70", now);
    uint64_t begun = now;
    unsigned count = fail_starts(now + 60 * SECOND, times, 64);
    assert_true(times[0] - begun >= SECOND / 4);
    for (unsigned i = 1; i < count; i++) {
        uint64_t gap = times[i] - times[i - 1];
        uint64_t wanted = (SECOND / 2) << (i - 1 < 10 ? i - 1 : 10);
        wanted = wanted < 10 * SECOND ? wanted : 10 * SECOND;
        assert_true(gap >= wanted && gap <= wanted + SECOND / 100);
    }
    assert_in_range(count, 8, 14); /* in a minute, never a storm */
    assert_true(seat.crash_loop);
}

/* ---- crash loop */

static void crash_loop_gets_a_standin(void **state)
{
    uint64_t times[64];
    (void)state;
    seat_start(&seat, now);
    seat_exited(number(1), "with code 70", now);
    fail_starts(now + 20 * SECOND, times, 64);
    assert_true(seat.crash_loop);
    struct generation *standin = seat_serving(&seat);
    assert_non_null(standin);
    assert_true(standin->standin);
    uint32_t standin_number = standin->number;
    happened();
    run_until(now + 11 * SECOND);
    struct generation *real = seat.generations;
    assert_int_equal(real->state, GENERATION_STARTING);
    seat_ready(real, now);
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "launch %u, drain(30000) %u", real->number, standin_number);
    assert_string_equal(happened(), wanted);
    assert_ptr_equal(seat_serving(&seat), real);
    assert_int_equal(seat.swaps, 0); /* that was no swap */
    run_until(now + 10 * SECOND);
    assert_false(seat.crash_loop);
}

static void no_standin_beside_another_seat(void **state)
{
    uint64_t times[64];
    (void)state;
    others = true;
    seat_start(&seat, now);
    seat_exited(number(1), "with code 70", now);
    fail_starts(now + 20 * SECOND, times, 64);
    assert_true(seat.crash_loop);
    assert_null(seat_serving(&seat));
    others = false; /* it died, too */
    fail_starts(now + 5 * SECOND, times, 64);
    assert_non_null(seat_serving(&seat));
    assert_true(seat_serving(&seat)->standin);
    happened();
    others = true; /* it is back: the stand-in must not answer its requests */
    pass(SECOND);
    assert_non_null(strstr(happened(), "drain(30000)"));
    assert_null(seat_serving(&seat));
}

static void standin_that_dies_is_no_storm(void **state)
{
    uint64_t times[64], end = now + 60 * SECOND;
    unsigned standins = 0;
    (void)times;
    (void)state;
    seat_start(&seat, now);
    while (now < end) {
        struct generation *g = seat.generations;
        if (g) {
            standins += g->standin;
            seat_exited(g, "on signal 11", now);
        }
        uint64_t next = seat_next_us(&seat);
        now = next == 0 || next > end ? end : next > now ? next : now;
        seat_tick(&seat, now);
        assert_true(seat.last_number < 200);
    }
    assert_in_range(standins, 2, 8);
}

/* Ready, and dead at once: the burst is used up, then one at the pace of the refill. */
static void dying_at_once_is_slowed_down(void **state)
{
    uint64_t end = now + 60 * SECOND;
    unsigned starts = 0;
    (void)state;
    seat_start(&seat, now);
    while (now < end) {
        struct generation *g = seat.generations;
        while (g && g->standin) {
            g = g->next;
        }
        if (g && g->state == GENERATION_STARTING) {
            starts++;
            now += SECOND / 100;
            seat_ready(g, now);
            for (struct generation *old = seat.generations, *next; old; old = next) {
                next = old->next;
                if (old->state == GENERATION_DRAINING) {
                    seat_exited(old, "with code 0", now);
                }
            }
            seat_exited(g, "on signal 11", now);
        } else if (seat.generations && seat.generations->state == GENERATION_STARTING) {
            seat_ready(seat.generations, now);
        }
        if (seat.generations && seat.generations->state == GENERATION_STARTING) {
            continue;
        }
        uint64_t next = seat_next_us(&seat);
        now = next == 0 || next > end ? end : next > now ? next : now;
        seat_tick(&seat, now);
    }
    assert_true(seat.crash_loop);
    assert_in_range(starts, 20, 40); /* 3 of the burst and one every 2 s */
    assert_non_null(strstr(seat.last_failure, "signal 11"));
}

/* ---- the end */

static void end_politely(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    happened();
    seat_drain(&seat, 7 * SECOND, now);
    assert_string_equal(happened(), "kill 2, drain(7000) 1");
    seat_heard(number(1), now);
    seat_swap(&seat, "too late", now);
    seat_exited(number(2), "on signal 9", now);
    assert_string_equal(happened(), "forget 2");
    run_until(now + 6 * SECOND);
    assert_string_equal(happened(), "");
    run_until(now + 2 * SECOND);
    assert_string_equal(happened(), "kill 1");
    seat_exited(number(1), "on signal 9", now);
    assert_true(seat_empty(&seat));
    run_until(now + 60 * SECOND);
    assert_string_equal(happened(), "forget 1");
}

static void end_now(void **state)
{
    (void)state;
    serve_first();
    seat_swap(&seat, "test", now);
    pass(SECOND);
    happened();
    seat_stop(&seat, now);
    assert_string_equal(happened(), "kill 2, stop 1");
    run_until(now + 2 * SECOND);
    assert_string_equal(happened(), "kill 1");
    seat_exited(number(1), "on signal 9", now);
    seat_exited(number(2), "on signal 9", now);
    assert_true(seat_empty(&seat));
    assert_int_equal(seat_next_us(&seat), 0);
}

static void stop_after_drain(void **state)
{
    (void)state;
    serve_first();
    seat_drain(&seat, 30 * SECOND, now);
    seat_heard(number(1), now);
    happened();
    now += SECOND;
    seat_stop(&seat, now);
    assert_string_equal(happened(), "stop 1");
    run_until(now + 2 * SECOND);
    assert_string_equal(happened(), "kill 1");
}

/* ---- an earlier image's processes */

static void adopted_one_serves_until_ready(void **state)
{
    (void)state;
    struct generation *g = seat_adopt(&seat, 7, GENERATION_READY, 42, 0, now);
    assert_ptr_equal(seat_find(&seat, 42), g);
    assert_null(seat_find(&seat, 43));
    seat_start(&seat, now);
    assert_string_equal(happened(), "ask 7");
    seat_warm_list(&seat, g, some_file(), now);
    assert_string_equal(happened(), "launch warm 8");
    seat_ready(number(8), now);
    assert_string_equal(happened(), "drain(30000) 7");
}

static void adopted_drain_keeps_its_deadline(void **state)
{
    (void)state;
    seat_adopt(&seat, 6, GENERATION_DRAINING, 41, now + 9 * SECOND, now);
    run_until(now + 8 * SECOND);
    assert_string_equal(happened(), "");
    run_until(now + 2 * SECOND);
    assert_string_equal(happened(), "kill 6");
}

static void adopted_start_goes_on(void **state)
{
    (void)state;
    seat_adopt(&seat, 3, GENERATION_READY, 40, 0, now);
    seat_adopt(&seat, 4, GENERATION_STARTING, 41, now + 60 * SECOND, now);
    seat_start(&seat, now);
    assert_string_equal(happened(), ""); /* the new configuration's own one comes after it */
    run_until(now + 5 * SECOND);
    seat_ready(number(4), now);
    assert_string_equal(happened(), "drain(30000) 3, ask 4");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(swap_goes_round),
        TEST(cold_without_a_list),
        TEST(damaged_one_is_asked_shortly),
        TEST(swaps_are_one_at_a_time),
        TEST(own_wish_is_not_owed_twice),
        TEST(old_ones_do_not_pile_up),
        TEST(drain_has_its_time_once_confirmed),
        TEST(deaf_one_is_not_waited_for),
        TEST(crash_while_draining_costs_nothing_more),
        TEST(dead_one_is_replaced_at_once),
        TEST(dead_while_its_list_is_awaited),
        TEST(dead_while_its_successor_starts),
        TEST(failed_start_leaves_the_old_one),
        TEST(start_without_end_is_killed),
        TEST(no_process_at_all),
        TEST(failed_starts_back_off),
        TEST(crash_loop_gets_a_standin),
        TEST(no_standin_beside_another_seat),
        TEST(standin_that_dies_is_no_storm),
        TEST(dying_at_once_is_slowed_down),
        TEST(end_politely),
        TEST(end_now),
        TEST(stop_after_drain),
        TEST(adopted_one_serves_until_ready),
        TEST(adopted_drain_keeps_its_deadline),
        TEST(adopted_start_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
