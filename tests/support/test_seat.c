#include "tests/support/test_seat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "engine/base/log.h"

struct seat test_seat;
uint64_t test_now;
int test_launch_result;
bool test_others, test_starves;
uint32_t test_let_in;

static char did[4096]; /* what was asked for, in words */
static pid_t next_pid;

static void note(const char *verb, const struct generation *g)
{
    size_t n = strlen(did);
    snprintf(did + n, sizeof(did) - n, "%s%s %u", n > 0 ? ", " : "", verb, g->number);
}

static int on_launch(struct seat *s, struct generation *g, int warm_fd)
{
    (void)s;
    note(g->standin ? "standin" : warm_fd >= 0 ? "launch warm" : "launch", g);
    if (warm_fd >= 0) {
        close(warm_fd);
    }
    g->pid = next_pid++;
    return test_launch_result;
}

static void on_ask(struct generation *g)
{
    note("ask", g);
}

static void on_forget_cache(struct generation *g)
{
    note("stale", g);
}

static void on_serve(struct generation *g)
{
    test_let_in = g->number;
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
    assert_ptr_equal(s, &test_seat);
}

static bool on_others(const struct seat *s)
{
    (void)s;
    return test_others;
}

static bool on_starves(struct generation *g)
{
    (void)g;
    return test_starves;
}

static const struct generation_hooks hooks = {.launch = on_launch,
                                              .ask_warm_list = on_ask,
                                              .forget_cache = on_forget_cache,
                                              .serve = on_serve,
                                              .drain = on_drain,
                                              .stop = on_stop,
                                              .kill = on_kill,
                                              .forget = on_forget,
                                              .changed = on_changed,
                                              .others_serve = on_others,
                                              .starves = on_starves};

static const struct generation_limits limits = {
    .start_us = 60 * SECOND,
    .drain_us = 30 * SECOND,
    .heard_us = 5 * SECOND,
    .stop_us = 1 * SECOND,
    .warm_us = 1 * SECOND,
    .damaged_us = SECOND / 10,
    .swap_gap_us = 1 * SECOND,
    .again_us = 20 * SECOND,
    .again_max_us = 60 * SECOND,
    .renewed_us = 3 * SECOND,
    .renew_us = 2 * SECOND,
    .renew_max_us = 30 * SECOND,
    .max_draining = 2,
    .burst = 3,
    .refill_us = 2 * SECOND,
    .retry_us = SECOND / 4,
    .retry_max_us = 10 * SECOND,
};

int test_seat_set_up(void **state)
{
    (void)state;
    log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    did[0] = '\0';
    test_now = 1000 * SECOND;
    test_launch_result = 0;
    next_pid = 100;
    test_others = test_starves = false;
    test_let_in = 0;
    seat_init(&test_seat, "www", 0, &hooks, &limits, test_now);
    return 0;
}

int test_seat_tear_down(void **state)
{
    (void)state;
    seat_free(&test_seat);
    close(log_fd());
    log_to_fd(STDERR_FILENO);
    return 0;
}

const char *test_happened(void)
{
    static char last[sizeof(did)];
    memcpy(last, did, sizeof(did));
    did[0] = '\0';
    return last;
}

struct generation *test_generation(uint32_t n)
{
    struct generation *g = test_seat.generations;
    while (g && g->number != n) {
        g = g->next;
    }
    assert_non_null(g);
    return g;
}

void test_pass(uint64_t us)
{
    test_now += us;
    seat_tick(&test_seat, test_now);
}

void test_sleep_until(uint64_t end)
{
    uint64_t next = seat_next_us(&test_seat);
    test_now = next == 0 || next > end ? end : next > test_now ? next : test_now;
    seat_tick(&test_seat, test_now);
}

void test_run_until(uint64_t end)
{
    for (unsigned turns = 0; test_now < end; turns++) {
        if (turns > 1000) {
            fail_msg("the machine spins at %llu (next %llu)", (unsigned long long)test_now,
                     (unsigned long long)seat_next_us(&test_seat));
        }
        test_sleep_until(end);
    }
}

void test_serve_first(void)
{
    seat_start(&test_seat, test_now);
    assert_string_equal(test_happened(), "launch 1");
    seat_ready(test_generation(1), test_now);
    assert_string_equal(test_happened(), "");
    assert_ptr_equal(seat_serving(&test_seat), test_generation(1));
}

void test_begin_swap(void)
{
    test_serve_first();
    seat_swap(&test_seat, "test", test_now);
    test_pass(SECOND);
}
