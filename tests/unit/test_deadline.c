/* request_terminate_timeout's three stages, PHP's own time limit, the slow log, the drain's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/test_executor.h"
#include "tests/support/test_pool.h"

static struct test_pool *prepare(int children)
{
    static struct test_pool pools[16]; /* they stay: lost threads may look */
    static int used;
    struct test_pool *t = &pools[used++];

    MUST(used <= 16);
    test_pool_init(t, children);
    memset(test_interrupts, 0, sizeof(test_interrupts));
    return t;
}

static struct memory_call *run(struct test_pool *t, const char *uri, const char *query, int timeout_ms)
{
    struct memory_call *call = memory_call_new(t->pool, "GET", uri, query, NULL);

    test_pool_call(t, call, timeout_ms);
    return call;
}

static void script_is_asked_to_end(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    struct memory_call *call = run(t, "/spin", "a=b", 10000);

    assert_int_equal(call->status, 500);
    assert_int_equal(call->finishes, 1);
    assert_true(test_interrupts[INTERRUPT_TERMINATE] >= 1);
    assert_int_equal(metrics_counted(t->board, TOTAL_TIMEOUTS), 1);
    assert_true(test_pool_logged(t, "WARNING: [pool www] child "));
    assert_true(test_pool_logged(
        t, ", script '/srv/app/index.php' (request: \"GET /spin?a=b\") execution timed out (1."));
    assert_true(test_pool_logged(t, " sec), terminating"));
    memory_call_free(call);
    test_pool_stop(t);
}

static void system_call_is_broken(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    struct memory_call *call = run(t, "/sleep", "3600000", 60000);

    assert_int_equal(call->status, 500);
    assert_int_equal(call->abandoned, 0);
    memory_call_free(call);
    test_pool_stop(t);
}

static void stuck_worker_is_written_off(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    struct memory_call *stuck = run(t, "/stuck", "6000", 10000);

    assert_int_equal(stuck->abandoned, 504);
    assert_true(stuck->abandoned_lock);
    assert_null(pool_swap_reason(t->pool));
    /* Its replacement serves, and the stuck thread does not come back to its front end when it wakes. */
    struct memory_call *next = run(t, "/echo", "", 5000);

    assert_int_equal(next->status, 200);
    test_pool_run(t, 4500);
    assert_int_equal(stuck->finishes, 0);
    assert_int_equal(stuck->status, 0);
    assert_false(memory_done(stuck));
    memory_call_free(next);
    test_pool_stop(t);
}

static void too_many_written_off_ask_for_a_swap(void **state)
{
    struct test_pool *t = prepare(4);
    struct memory_call *calls[3];

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    for (int i = 0; i < 3; i++) {
        calls[i] = memory_call_new(t->pool, "GET", "/stuck", "20000", NULL);
        memory_submit(calls[i]);
    }
    for (int i = 0; i < 3; i++) {
        while (!calls[i]->abandoned) {
            test_pool_run(t, 10);
        }
    }
    assert_string_equal(pool_swap_reason(t->pool), "too many workers are stuck");
    test_pool_stop(t);
}

static bool asks_for_a_swap(void *ctx)
{
    return pool_swap_reason(((struct test_pool *)ctx)->pool) != NULL;
}

/* One is enough, if it stays busy. */
static void one_that_stays_busy_asks_for_a_swap(void **state)
{
    struct test_pool *t = prepare(2);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    run(t, "/stuck", "60000", 10000);
    assert_null(pool_swap_reason(t->pool));
    assert_true(test_pool_until(t, asks_for_a_swap, t, 15000));
    assert_string_equal(pool_swap_reason(t->pool), "a worker that was written off is still busy");
    test_pool_stop(t);
}

static bool slots_are_free(void *ctx)
{
    const struct test_pool *t = ctx;
    uint32_t taken = 0, busy = 0;

    for (uint32_t i = 0; i < t->board->numbers->slots_used; i++) {
        taken += t->board->slots[i].state != WORKER_FREE;
        busy += t->board->slots[i].state > WORKER_IDLE && t->board->slots[i].state < WORKER_PARKED;
    }
    return taken == 1 && busy == 0;
}

/* It counts as nothing from then on, and asks for no swap. */
static void written_off_and_back_again(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    run(t, "/stuck", "5000", 10000);
    assert_true(test_pool_until(t, slots_are_free, t, 10000));
    test_pool_run(t, 6000);
    assert_true(slots_are_free(t));
    assert_null(pool_swap_reason(t->pool));
    test_pool_stop(t);
}

static void finished_requests_are_not_tracked(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    test_pool_start(t, &test_executor);
    struct memory_call *call = run(t, "/early", "2000", 10000);

    assert_int_equal(call->finishes, 1);
    assert_int_equal(test_interrupts[INTERRUPT_TERMINATE], 0);
    memory_call_free(call);
    test_pool_stop(t);
}

static void finished_requests_are_tracked_if_asked(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    t->conf.s.request_terminate_timeout = 1;
    t->conf.s.request_terminate_timeout_track_finished = true;
    test_pool_start(t, &test_executor);
    struct memory_call *call = run(t, "/early", "20000", 10000);

    assert_int_equal(call->finishes, 1);
    assert_int_equal(call->abandoned, 0);
    assert_true(test_interrupts[INTERRUPT_TERMINATE] > 0);
    memory_call_free(call);
    test_pool_stop(t);
}

static void php_time(void **state)
{
    struct test_pool *t = prepare(1);

    (void)state;
    test_pool_start(t, &test_executor);
    struct memory_call *call = run(t, "/php-time", "0", 10000);

    assert_int_equal(call->status, 500);
    assert_int_equal(test_interrupts[INTERRUPT_PHP_TIME], 1);
    assert_int_equal(test_interrupts[INTERRUPT_TERMINATE], 0);
    memory_call_free(call);
    test_pool_stop(t);
}

static void slow_log(void **state)
{
    struct test_pool *t = prepare(1);
    int slow = memfd_create("slow", MFD_CLOEXEC);
    char text[1024];

    (void)state;
    t->conf.s.request_slowlog_timeout = 1;
    test_pool_create(t, &test_executor);
    pool_set_logs(t->pool, NULL, slow);
    assert_int_equal(pool_start(t->pool), 0);
    pool_open(t->pool);
    struct memory_call *fast = run(t, "/echo", "", 5000);
    struct memory_call *call = run(t, "/nap", "2000", 10000);

    assert_int_equal(call->status, 200); /* its sleep was not cut short */
    assert_int_equal(t->board->numbers->slow_requests, 1);
    ssize_t n = pread(slow, text, sizeof(text) - 1, 0);

    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(text[0], '\n');
    assert_int_equal(text[1], '[');
    assert_non_null(strstr(text, "]  [pool www] pid "));
    assert_non_null(strstr(text, "\nscript_filename = /srv/app/index.php\n[0x1] test() index.php:1\n"));
    assert_null(strstr(text, "dump failed"));
    assert_true(test_pool_logged(t, "(request: \"GET /nap?2000\") executing too slow (1."));
    assert_true(test_pool_logged(t, " sec), logging"));
    memory_call_free(call);
    call = run(t, "/stuck", "2000", 10000); /* now awake, now asleep */
    assert_int_equal(t->board->numbers->slow_requests, 2);
    n = pread(slow, text, sizeof(text) - 1, n);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "\n[0x1] test() index.php:1\n"));
    memory_call_free(call);
    memory_call_free(fast);
    test_pool_stop(t);
    close(slow);
}

static void drain_deadline_interrupts(void **state)
{
    struct test_pool *t = prepare(2);

    (void)state;
    test_pool_start(t, &test_executor);
    struct memory_call *call = memory_call_new(t->pool, "GET", "/sleep", "60000", NULL);

    memory_submit(call);
    test_pool_run(t, 200);
    pool_drain(t->pool);
    pool_interrupt_all(t->pool);
    while (!pool_idle(t->pool)) {
        test_pool_run(t, 10);
    }
    assert_int_equal(call->status, 500);
    assert_int_equal(test_interrupts[INTERRUPT_DRAIN], 1);
    memory_call_free(call);
    test_pool_stop(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(script_is_asked_to_end),
        cmocka_unit_test(system_call_is_broken),
        cmocka_unit_test(stuck_worker_is_written_off),
        cmocka_unit_test(too_many_written_off_ask_for_a_swap),
        cmocka_unit_test(one_that_stays_busy_asks_for_a_swap),
        cmocka_unit_test(written_off_and_back_again),
        cmocka_unit_test(finished_requests_are_not_tracked),
        cmocka_unit_test(finished_requests_are_tracked_if_asked),
        cmocka_unit_test(php_time),
        cmocka_unit_test(slow_log),
        cmocka_unit_test(drain_deadline_interrupts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
