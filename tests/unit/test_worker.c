/* One worker's thread: stack, signals, what the scoreboard says of it, its rest. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/work/request.h"
#include "tests/support/board.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/test_executor.h"
#include "tests/support/test_pool.h"

static size_t stack_bytes, guard_bytes;
static sigset_t mask;
static stack_t alternate;
static struct worker seen;

/* An executor that looks at its thread. */
static void look(struct worker *w, struct request *r)
{
    const struct response_head head = {.status = 200};
    pthread_attr_t attributes;
    void *stack;

    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &stack, &stack_bytes);
    pthread_attr_getguardsize(&attributes, &guard_bytes);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigaltstack(NULL, &alternate);
    seen.tid = current_worker->tid;
    seen.id = w->id;
    seen.terminate_at_us = w->terminate_at_us;
    seen.parked = worker_heartbeat(w, 5);
    seen.lost = worker_heartbeat(w, 500);
    request_send_head(r, &head);
    request_finish(r);
}

static void thread_is_made_for_php(void **state)
{
    struct executor executor = test_executor;
    struct test_pool t;

    (void)state;
    executor.run = look;
    test_pool_init(&t, 1);
    t.conf.s.request_terminate_timeout = 60;
    test_pool_start(&t, &executor);
    struct memory_call *call = memory_call_new(t.pool, "GET", "/look", "q", NULL);

    test_pool_call(&t, call, 5000);
    assert_int_equal(stack_bytes, WORKER_STACK_BYTES);
    assert_true(guard_bytes >= WORKER_GUARD_BYTES);
    assert_true(alternate.ss_size >= 16384 && !(alternate.ss_flags & SS_DISABLE));
    assert_true(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGALRM) && sigismember(&mask, SIGPIPE));
    assert_false(sigismember(&mask, SIGSEGV) || sigismember(&mask, SIGRTMIN) ||
                 sigismember(&mask, WORKER_SIGNAL_INTERRUPT));
    assert_true(seen.terminate_at_us > clock_us());
    assert_true(seen.parked); /* a heartbeat within the limit */
    assert_false(seen.lost);  /* and one beyond it */
    assert_int_equal(t.board->slots[0].tid, seen.tid);
    assert_int_equal(t.board->numbers->active_max, 1);
    memory_call_free(call);
    test_pool_stop(&t);
}

static void scoreboard_tells(void **state)
{
    struct test_pool t;
    struct worker_row slot;

    (void)state;
    test_pool_init(&t, 1);
    test_pool_start(&t, &test_executor);
    struct memory_call *call = memory_call_new(t.pool, "POST", "/sleep", "400", "four");
    struct board_source from = board_source(t.board);

    memory_submit(call);
    test_pool_run(&t, 200);
    assert_true(board_worker(&from, 0, &slot));
    assert_int_equal(slot.state, WORKER_RUNNING);
    assert_string_equal(slot.method, "POST");
    assert_string_equal(slot.uri, "/sleep");
    assert_string_equal(slot.query, "400");
    assert_string_equal(slot.script, "/srv/app/index.php");
    assert_int_equal(slot.content_length, 4);
    assert_int_equal(slot.requests, 1);
    while (!memory_done(call)) {
        test_pool_run(&t, 10);
    }
    test_pool_run(&t, 50);
    assert_true(board_worker(&from, 0, &slot));
    assert_int_equal(slot.state, WORKER_IDLE);
    assert_true(slot.duration_us >= 300000);
    assert_true(slot.last_cpu_us < 200000); /* it slept */
    assert_int_equal(slot.memory_peak, 4096);
    assert_int_equal(t.board->numbers->memory_peak, 4096);
    memory_call_free(call);
    test_pool_stop(&t);
}

static bool has_rested(void *ctx)
{
    (void)ctx;
    return test_idles > 0;
}

static void rests_once(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 1);
    test_pool_start(&t, &test_executor);
    struct memory_call *call = memory_call_new(t.pool, "GET", "/echo", "", NULL);

    test_pool_call(&t, call, 5000);
    test_idles = 0;
    assert_true(test_pool_until(&t, has_rested, NULL, 10000));
    test_pool_run(&t, 2500);
    assert_int_equal(test_idles, 1);
    memory_call_free(call);
    test_pool_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_is_made_for_php),
        cmocka_unit_test(scoreboard_tells),
        cmocka_unit_test(rests_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
