/* A crash costs the request that crashed and nothing else. The address sanitizer catches these signals before
 * the engine's handler could, so that build only checks that the program links. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/must.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/crash.h"
#include "engine/work/pool_private.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/sanitizer.h"
#include "tests/support/test_executor.h"
#include "tests/support/test_pool.h"

#define CRASHES 20
#define ROUNDS  20
#define ROUND   100

static int reports;
static int last_signal;
static char last_backtrace[256];

static void on_crash(struct pool *pool, const struct worker *w)
{
    (void)pool;
    reports++;
    last_signal = w->crash.signal;
    memcpy(last_backtrace, w->crash.php_backtrace, sizeof(last_backtrace));
    MUST(w->crash.frame_count > 0);
}

static struct test_pool *start(int children)
{
    static struct test_pool pools[16]; /* they stay: lost threads may look */
    static int used;
    struct test_pool *t = &pools[used++];

    MUST(used <= 16);
    test_pool_init(t, children);
    test_pool_start(t, &test_executor);
    crash_install();
    pool_on_crash = on_crash;
    reports = 0;
    return t;
}

static void one_crash(struct test_pool *t, const char *uri, int signal)
{
    struct memory_call *call = memory_call_new(t->pool, "GET", uri, "", NULL);
    int before = reports;

    test_pool_call(t, call, 5000);
    assert_int_equal(call->abandoned, 500);
    assert_true(call->abandoned_lock);
    assert_int_equal(call->finishes, 0);
    assert_int_equal(reports, before + 1);
    assert_int_equal(last_signal, signal);
    assert_non_null(strstr(last_backtrace, "index.php:1"));
}

static void every_signal(void **state)
{
    struct test_pool *t = start(2);

    (void)state;
    one_crash(t, "/segv", SIGSEGV);
    assert_string_equal(pool_swap_reason(t->pool), "a worker crashed");
    assert_true(test_pool_logged(t, "exited on signal 11 (SIGSEGV) after "));
    one_crash(t, "/abort", SIGABRT);
    one_crash(t, "/fpe", SIGFPE);
    one_crash(t, "/bus", SIGBUS);
    one_crash(t, "/ill", SIGILL);
    one_crash(t, "/overflow", SIGSEGV);
    struct memory_call *call = memory_call_new(t->pool, "GET", "/echo", "", "after");

    test_pool_call(t, call, 5000);
    assert_string_equal(call->answer.p, "after");
    memory_call_free(call);
    test_pool_stop(t);
}

static void inside_the_front_end(void **state)
{
    struct test_pool *t = start(2);
    struct memory_call *call = memory_call_new(t->pool, "GET", "/crash-in-write", "", NULL);

    (void)state;
    test_pool_call(t, call, 5000);
    assert_int_equal(call->abandoned, 500);
    assert_false(call->abandoned_lock);
    test_pool_stop(t);
}

/* It is out of the queue, and nowhere else yet. */
static void before_the_request_begins(void **state)
{
    struct test_pool *t = start(2);
    struct memory_call *call = memory_call_new(t->pool, "GET", "/echo", "", NULL);

    (void)state;
    call->request.auth_user = (const char *)(uintptr_t)16;
    test_pool_call(t, call, 5000);
    assert_int_equal(call->abandoned, 500);
    assert_true(call->abandoned_lock);
    test_pool_stop(t);
}

static struct waitable *counted_out;

static void hold_and_crash(struct waitable *w, struct worker *worker)
{
    volatile uintptr_t nowhere = 16;

    (void)worker;
    worker_holds(w);
    *(volatile int *)nowhere = 1;
}

static void count_out(struct waitable *w)
{
    counted_out = w;
}

static bool is_counted_out(void *ctx)
{
    return counted_out == ctx;
}

static void with_something_in_hand(void **state)
{
    struct test_pool *t = start(2);
    static struct waitable w = {.ready = hold_and_crash, .lost = count_out};
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    w.fd = ends[0];
    assert_int_equal(pool_wait_add(t->pool, &w, WAIT_ONESHOT), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(test_pool_until(t, is_counted_out, &w, 5000));
    close(ends[0]);
    close(ends[1]);
    test_pool_stop(t);
}

static void twenty_among_thousands(void **state)
{
    struct test_pool *t = start(4);
    int crashed = 0, served = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct memory_call *calls[ROUND];

        for (int i = 0; i < ROUND; i++) {
            calls[i] = memory_call_new(t->pool, "POST", i == ROUND / 2 ? "/segv" : "/echo", "", "x");
            assert_int_equal(memory_submit(calls[i]), SUBMIT_OK);
        }
        for (int i = 0; i < ROUND; i++) {
            while (!calls[i]->abandoned && !memory_done(calls[i])) {
                test_pool_run(t, 1);
            }
            crashed += calls[i]->abandoned == 500;
            served += calls[i]->finishes == 1 && calls[i]->status == 200;
            assert_int_equal(calls[i]->abandoned != 0, i == ROUND / 2);
            memory_call_free(calls[i]);
        }
    }
    assert_int_equal(crashed, CRASHES);
    assert_int_equal(served, ROUNDS * ROUND - CRASHES);
    assert_int_equal(reports, CRASHES);
    assert_int_equal(metrics_counted(t->board, TOTAL_CRASHES), CRASHES);
    test_pool_stop(t);
}

static bool slots_are_free(void *ctx)
{
    const struct test_pool *t = ctx;
    uint32_t taken = 0;

    for (uint32_t i = 0; i < t->board->numbers->slots_used; i++) {
        taken += t->board->slots[i].state != WORKER_FREE;
    }
    return taken == 1;
}

/* More crashes than the scoreboard has places: a thread that sleeps for ever needs none. */
static void crashed_workers_give_their_place_back(void **state)
{
    struct test_pool *t = start(1);
    int crashes = (int)t->board->size.slots + 3;

    (void)state;
    for (int i = 0; i < crashes; i++) {
        one_crash(t, "/abort", SIGABRT);
    }
    assert_true(test_pool_until(t, slots_are_free, t, 5000));
    assert_false(pool_is_lost(t->pool));
    test_pool_stop(t);
}

/* It is replaced once, not once as a crashed worker and once as one that the start has still to make. */
static void a_crash_before_the_first_tick(void **state)
{
    struct test_pool *t = start(1);
    struct worker *w = t->pool->workers[0];
    struct memory_call *call = memory_call_new(t->pool, "GET", "/abort", "", NULL);

    (void)state;
    assert_int_equal(memory_submit(call), SUBMIT_OK);
    while (!atomic_load(&w->crash.noted)) {
        usleep(1000);
    }
    test_pool_run(t, 100);
    assert_int_equal(call->abandoned, 500);
    assert_int_equal(atomic_load(&t->pool->running), 1);
    assert_true(test_pool_until(t, slots_are_free, t, 5000));
    test_pool_stop(t);
}

static bool is_lost(void *ctx)
{
    return pool_is_lost(((struct test_pool *)ctx)->pool);
}

/* Nobody takes the place of the last worker: that is no pool any more, although there is nearly always one
 * that just starts. */
static void without_workers_the_pool_is_lost(void **state)
{
    struct test_pool *t = start(2);

    (void)state;
    test_refuse_threads = 1000;
    test_refusal_ms = 50;
    one_crash(t, "/segv", SIGSEGV);
    test_pool_run(t, 300);
    assert_false(pool_is_lost(t->pool)); /* one is left */
    one_crash(t, "/segv", SIGSEGV);
    assert_true(test_pool_until(t, is_lost, t, 10000));
    test_refuse_threads = 0;
    test_refusal_ms = 0;
    test_pool_stop(t);
}

/* Outside of the workers it is the process's end, by the same signal. */
static void other_threads_end_the_process(void **state)
{
    (void)state;
    volatile uintptr_t nowhere = 16;
    pid_t child = fork();

    if (child == 0) {
        crash_install();
        *(volatile int *)nowhere = 1;
        _exit(0);
    }
    int status = 0;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_threads_end_the_process),
        cmocka_unit_test(every_signal),
        cmocka_unit_test(inside_the_front_end),
        cmocka_unit_test(before_the_request_begins),
        cmocka_unit_test(with_something_in_hand),
        cmocka_unit_test(twenty_among_thousands),
        cmocka_unit_test(crashed_workers_give_their_place_back),
        cmocka_unit_test(a_crash_before_the_first_tick),
        cmocka_unit_test(without_workers_the_pool_is_lost),
    };

    return run_unless_sanitized(ADDRESS_SANITIZED, tests);
}
