/* Sizing by pm's rules, the queue, draining and stopping. The clock is real; bounds are generous. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/test_executor.h"
#include "tests/support/test_pool.h"

static uint32_t count(struct test_pool *t, enum worker_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->board->numbers->slots_used; i++) {
        n += t->board->slots[i].state == (int)state;
    }
    return n;
}

static void serves_many(void **state)
{
    struct test_pool t;
    struct memory_call *calls[200];

    (void)state;
    test_pool_init(&t, 4);
    test_pool_start(&t, &test_executor);
    for (int i = 0; i < 200; i++) {
        calls[i] = memory_call_new(t.pool, "POST", "/echo", "", "hello");
        assert_int_equal(memory_submit(calls[i]), SUBMIT_OK);
    }
    for (int i = 0; i < 200; i++) {
        while (!memory_done(calls[i])) {
            test_pool_run(&t, 1);
        }
        assert_int_equal(calls[i]->status, 200);
        assert_int_equal(calls[i]->finishes, 1);
        assert_string_equal(calls[i]->answer.p, "hello");
        memory_call_free(calls[i]);
    }
    assert_true(pool_idle(t.pool));
    assert_int_equal(test_threads, 4);
    test_pool_stop(&t);
    assert_int_equal(test_threads, 0);
}

static void refuses_beyond_capacity(void **state)
{
    struct test_pool t;
    struct memory_call *calls[3], *late;

    (void)state;
    test_pool_init(&t, 1);
    test_pool_create(&t, &test_executor);
    pool_set_queue(t.pool, 2, 0);
    for (int i = 0; i < 3; i++) {
        calls[i] = memory_call_new(t.pool, "GET", "/echo", "", NULL);
    }
    assert_int_equal(memory_submit(calls[0]), SUBMIT_OK);
    assert_int_equal(memory_submit(calls[1]), SUBMIT_OK);
    assert_int_equal(memory_submit(calls[2]), SUBMIT_FULL);
    assert_int_equal(metrics_counted(t.board, TOTAL_REJECTED), 1);
    assert_int_equal(pool_start(t.pool), 0);
    pool_open(t.pool);
    while (!memory_done(calls[0]) || !memory_done(calls[1])) {
        test_pool_run(&t, 1);
    }
    for (int i = 0; i < 3; i++) {
        memory_call_free(calls[i]);
    }
    pool_stop(t.pool);
    late = memory_call_new(t.pool, "GET", "/echo", "", NULL);
    assert_int_equal(memory_submit(late), SUBMIT_DRAINING);
    memory_call_free(late);
    test_pool_stop(&t);
}

static void queue_wait_has_a_limit(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 1);
    test_pool_create(&t, &test_executor);
    pool_set_queue(t.pool, 10, 100000);
    assert_int_equal(pool_start(t.pool), 0);
    pool_open(t.pool);
    struct memory_call *busy = memory_call_new(t.pool, "GET", "/sleep", "1500", NULL);
    struct memory_call *waits = memory_call_new(t.pool, "GET", "/echo", "", NULL);

    memory_submit(busy);
    while (pool_idle(t.pool) || count(&t, WORKER_RUNNING) == 0) {
        test_pool_run(&t, 1);
    }
    test_pool_call(&t, waits, 5000);
    assert_true(waits->expired);
    assert_int_equal(waits->finishes, 0);
    while (!memory_done(busy)) {
        test_pool_run(&t, 10);
    }
    assert_int_equal(busy->status, 200);
    memory_call_free(busy);
    memory_call_free(waits);
    test_pool_stop(&t);
}

static bool has_parked(void *ctx)
{
    return count(ctx, WORKER_PARKED) >= 2;
}

static bool has_five_running(void *ctx)
{
    return count(ctx, WORKER_RUNNING) >= 5;
}

static void dynamic_follows_load(void **state)
{
    struct test_pool t;
    struct memory_call *calls[6];

    (void)state;
    test_pool_init(&t, 5);
    t.conf.s.pm = PM_DYNAMIC;
    t.conf.s.start_servers = 2;
    t.conf.s.min_spare_servers = 1;
    t.conf.s.max_spare_servers = 3;
    test_pool_start(&t, &test_executor);
    assert_int_equal(test_threads, 2);
    for (int i = 0; i < 6; i++) {
        calls[i] = memory_call_new(t.pool, "GET", "/sleep", "9000", NULL);
        memory_submit(calls[i]);
    }
    assert_true(test_pool_until(&t, has_five_running, &t, 15000));
    test_pool_run(&t, 1500);
    assert_int_equal(test_threads, 5);
    assert_true(
        test_pool_logged(&t, "[pool www] server reached pm.max_children setting (5), consider raising it"));
    assert_int_equal(t.board->numbers->max_children_reached, 1);
    for (int i = 0; i < 6; i++) {
        while (!memory_done(calls[i])) {
            pool_interrupt_all(t.pool);
            test_pool_run(&t, 10);
        }
        memory_call_free(calls[i]);
    }
    assert_true(test_pool_until(&t, has_parked, &t, 10000));
    assert_int_equal(test_threads, 5); /* parked, not ended */
    test_pool_stop(&t);
    assert_int_equal(test_threads, 0);
}

static bool no_worker(void *ctx)
{
    return count(ctx, WORKER_PARKED) == 1;
}

static void ondemand_starts_for_work_only(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 3);
    t.conf.s.pm = PM_ONDEMAND;
    t.conf.s.process_idle_timeout = 1;
    test_pool_start(&t, &test_executor);
    test_pool_run(&t, 300);
    assert_int_equal(test_threads, 0);
    for (int i = 0; i < 3; i++) {
        struct memory_call *call = memory_call_new(t.pool, "GET", "/echo", "", NULL);

        test_pool_call(&t, call, 5000);
        assert_int_equal(call->status, 200);
        memory_call_free(call);
    }
    assert_int_equal(test_threads, 1);
    assert_true(test_pool_until(&t, no_worker, &t, 10000));
    struct memory_call *again = memory_call_new(t.pool, "GET", "/echo", "", NULL);

    test_pool_call(&t, again, 5000);
    assert_int_equal(again->status, 200);
    assert_int_equal(test_threads, 1); /* the parked one came back */
    memory_call_free(again);
    test_pool_stop(&t);
}

struct event {
    struct waitable wait;
    struct test_pool *t;
    _Atomic int served;
};

static void on_event(struct waitable *self, struct worker *w)
{
    struct event *e = (struct event *)self;
    uint64_t n;

    (void)w;
    e->served += read(self->fd, &n, sizeof(n)) == sizeof(n);
    pool_wait_rearm(e->t->pool, self);
}

static bool was_served(void *ctx)
{
    return ((struct event *)ctx)->served > 0;
}

static void ondemand_starts_for_the_wait_set(void **state)
{
    struct test_pool t;
    struct event e = {.wait = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = on_event}, .t = &t};
    uint64_t one = 1;

    (void)state;
    test_pool_init(&t, 3);
    t.conf.s.pm = PM_ONDEMAND;
    test_pool_start(&t, &test_executor);
    assert_int_equal(pool_wait_add(t.pool, &e.wait, WAIT_ONESHOT), 0);
    test_pool_run(&t, 200);
    assert_int_equal(test_threads, 0);
    assert_int_equal(write(e.wait.fd, &one, sizeof(one)), sizeof(one));
    assert_true(test_pool_until(&t, was_served, &e, 5000));
    assert_int_equal(test_threads, 1);
    test_pool_stop(&t);
    close(e.wait.fd);
}

struct gate {
    struct waitable wait;
    struct test_pool *t;
    bool leaves; /* the wait set, at the first look */
    _Atomic int looked, taken;
};

static void on_gate(struct waitable *self, struct worker *w)
{
    struct gate *g = (struct gate *)self;
    uint64_t n;
    bool one = read(self->fd, &n, sizeof(n)) == sizeof(n);

    if (g->leaves && g->looked == 0) {
        pool_wait_forget(g->t->pool, self);
    }
    g->looked++;
    g->taken += one;
    worker_took(w, self, one);
}

static bool was_taken(void *ctx)
{
    return ((struct gate *)ctx)->taken > 0;
}

/* Without the wait set, and not for ever: the wait set has its turn. */
static void a_listener_is_looked_at_again(void **state)
{
    struct test_pool t;
    struct gate g = {
        .wait = {.fd = eventfd(10, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE), .ready = on_gate},
        .t = &t,
        .leaves = true};

    (void)state;
    test_pool_init(&t, 1);
    test_pool_start(&t, &test_executor);
    assert_int_equal(pool_wait_add(t.pool, &g.wait, WAIT_LISTENER), 0);
    assert_true(test_pool_until(&t, was_taken, &g, 5000));
    test_pool_run(&t, 200);
    assert_int_equal(g.taken, 5);
    assert_int_equal(pool_wait_add(t.pool, &g.wait, WAIT_LISTENER), 0);
    test_pool_run(&t, 200);
    assert_int_equal(g.taken, 10);
    assert_in_range(g.looked, 10, 11); /* the look for nothing is not repeated */
    test_pool_stop(&t);
    close(g.wait.fd);
}

static void listeners_leave_time_for_connections(void **state)
{
    struct test_pool t;
    struct gate g = {
        .wait = {.fd = eventfd(2000000000, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE), .ready = on_gate},
        .t = &t};
    struct event e = {.wait = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = on_event}, .t = &t};
    uint64_t one = 1;

    (void)state;
    test_pool_init(&t, 1);
    test_pool_start(&t, &test_executor);
    assert_int_equal(pool_wait_add(t.pool, &e.wait, WAIT_ONESHOT), 0);
    assert_int_equal(pool_wait_add(t.pool, &g.wait, WAIT_LISTENER), 0);
    assert_true(test_pool_until(&t, was_taken, &g, 5000));
    assert_int_equal(write(e.wait.fd, &one, sizeof(one)), sizeof(one));
    assert_true(test_pool_until(&t, was_served, &e, 5000));
    pool_wait_forget(t.pool, &g.wait);
    test_pool_stop(&t);
    close(e.wait.fd);
    close(g.wait.fd);
}

static bool is_parked(void *ctx)
{
    return count(ctx, WORKER_PARKED) == 1;
}

static void order_park(struct waitable *self, struct worker *w)
{
    on_gate(self, w);
    if (((struct gate *)self)->looked == 1) {
        atomic_store(&((struct gate *)self)->t->pool->park_wanted, 1);
    }
}

/* It counts as idle, and says when it is not any more, which only a look at the wait set does. */
static void who_parks_forgets_the_listener(void **state)
{
    struct test_pool t;
    struct gate g = {
        .wait = {.fd = eventfd(5, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE), .ready = order_park},
        .t = &t,
        .leaves = true};

    (void)state;
    test_pool_init(&t, 1);
    t.conf.s.pm = PM_ONDEMAND;
    test_pool_start(&t, &test_executor);
    assert_int_equal(pool_wait_add(t.pool, &g.wait, WAIT_LISTENER), 0);
    assert_true(test_pool_until(&t, is_parked, &t, 5000));
    assert_int_equal(g.taken, 1);
    struct memory_call *call = memory_call_new(t.pool, "GET", "/echo", "", NULL);

    test_pool_call(&t, call, 5000);
    memory_call_free(call);
    test_pool_run(&t, 200);
    assert_int_equal(g.taken, 1);
    test_pool_stop(&t);
    close(g.wait.fd);
}

static uint32_t many(void *ctx)
{
    (void)ctx;
    return 7;
}

static void process_max_is_obeyed(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 4);
    test_pool_create(&t, &test_executor);
    pool_set_process_max(t.pool, 2, NULL, NULL);
    assert_int_equal(pool_start(t.pool), 0);
    pool_open(t.pool);
    assert_int_equal(test_threads, 2);
    assert_true(test_pool_logged(&t, "The maximum number of processes has been reached."));
    test_pool_stop(&t);

    test_pool_init(&t, 4);
    test_pool_create(&t, &test_executor);
    pool_set_process_max(t.pool, 7, many, NULL); /* other pools have them all: it waits for its turn */
    assert_int_equal(pool_start(t.pool), 0);
    pool_open(t.pool);
    assert_int_equal(test_threads, 0);
    assert_true(test_pool_logged(&t, "The maximum number of processes has been reached."));
    test_pool_stop(&t);
}

static void thread_refused(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 2);
    test_pool_create(&t, &test_executor);
    test_refuse_threads = 1;
    assert_int_equal(pool_start(t.pool), -1);
    assert_true(test_pool_logged(&t, "could not be initialised"));
    test_pool_stop(&t);
    assert_int_equal(test_threads, 0);
}

static bool wants_swap(void *ctx)
{
    return pool_swap_reason(((struct test_pool *)ctx)->pool) != NULL;
}

static void max_requests_asks_for_a_swap(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 2);
    t.conf.s.max_requests = 3;
    test_pool_start(&t, &test_executor);
    for (int i = 0; i < 6; i++) {
        struct memory_call *call = memory_call_new(t.pool, "GET", "/echo", "", NULL);

        assert_null(pool_swap_reason(t.pool));
        test_pool_call(&t, call, 5000);
        memory_call_free(call);
    }
    assert_true(test_pool_until(&t, wants_swap, &t, 5000));
    assert_string_equal(pool_swap_reason(t.pool), "pm.max_requests is used up");
    test_pool_stop(&t);
}

static void drain_finishes_what_runs(void **state)
{
    struct test_pool t;

    (void)state;
    test_pool_init(&t, 2);
    test_pool_start(&t, &test_executor);
    struct memory_call *call = memory_call_new(t.pool, "GET", "/sleep", "500", NULL);

    memory_submit(call);
    assert_false(pool_idle(t.pool));
    pool_drain(t.pool);
    assert_true(pool_draining(t.pool));
    while (!pool_idle(t.pool)) {
        test_pool_run(&t, 10);
    }
    assert_true(memory_done(call));
    assert_int_equal(call->status, 200);
    memory_call_free(call);
    test_pool_stop(&t);
}

/* Who waits has his answer before the others are made; nobody makes them before anybody is let in. */
static void the_first_serves_before_the_others_stand(void **state)
{
    struct test_pool t;

    for (int dynamic = 0; dynamic < 2; dynamic++) {
        (void)state;
        test_pool_init(&t, 6);
        t.conf.s.pm = dynamic ? PM_DYNAMIC : PM_STATIC;
        t.conf.s.start_servers = t.conf.s.min_spare_servers = t.conf.s.max_spare_servers = 5;
        test_pool_create(&t, &test_executor);
        pool_serve_from(t.pool, 2);
        assert_int_equal(pool_start(t.pool), 0);
        test_pool_run(&t, 10);
        assert_int_equal(test_threads, 2);
        pool_open(t.pool);
        struct memory_call *call = memory_call_new(t.pool, "GET", "/echo", "", NULL);
        memory_submit(call);
        while (!memory_done(call)) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        assert_int_equal(test_threads, 2);
        pool_tick(t.pool);
        assert_int_equal(atomic_load(&t.pool->running), dynamic ? 5 : 6);
        memory_call_free(call);
        test_pool_stop(&t);
    }
}

static void open_from(struct test_pool *t, int children, uint32_t enough)
{
    test_pool_init(t, children);
    test_pool_create(t, &test_executor);
    pool_serve_from(t->pool, enough);
    assert_int_equal(pool_start(t->pool), 0);
    pool_open(t->pool);
}

/* The number that is enough is beside pm's own: it makes none that nobody has asked for. */
static void no_more_serve_than_there_are(void **state)
{
    struct test_pool t;

    (void)state;
    open_from(&t, 2, 8);
    test_pool_run(&t, 10);
    assert_int_equal(test_threads, 2);
    test_pool_stop(&t);
}

/* A drain that comes first finds nothing that is still to be made. */
static void a_pool_that_ends_makes_no_more(void **state)
{
    struct test_pool t;

    (void)state;
    open_from(&t, 6, 1);
    pool_drain(t.pool);
    pool_stop(t.pool);
    assert_int_equal(test_threads, 0);
    test_pool_stop(&t);
}

static void page_workers_are_apart(void **state)
{
    struct test_pool t;
    struct event e = {
        .wait = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = on_event, .reserved = true}, .t = &t};
    uint64_t one = 1;

    (void)state;
    test_pool_init(&t, 1);
    test_pool_create(&t, &test_executor);
    assert_int_equal(pool_reserve(t.pool), 0);
    assert_int_equal(pool_wait_add(t.pool, &e.wait, WAIT_ONESHOT), 0);
    assert_int_equal(pool_start(t.pool), 0);
    pool_open(t.pool);
    struct memory_call *busy = memory_call_new(t.pool, "GET", "/sleep", "1000", NULL);

    memory_submit(busy);
    assert_int_equal(write(e.wait.fd, &one, sizeof(one)), sizeof(one));
    assert_true(test_pool_until(&t, was_served, &e, 5000));
    assert_false(memory_done(busy));
    assert_int_equal(t.board->numbers->slots_used, 1);
    while (!memory_done(busy)) {
        test_pool_run(&t, 10);
    }
    memory_call_free(busy);
    test_pool_stop(&t);
    close(e.wait.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_many),
        cmocka_unit_test(refuses_beyond_capacity),
        cmocka_unit_test(queue_wait_has_a_limit),
        cmocka_unit_test(dynamic_follows_load),
        cmocka_unit_test(ondemand_starts_for_work_only),
        cmocka_unit_test(ondemand_starts_for_the_wait_set),
        cmocka_unit_test(a_listener_is_looked_at_again),
        cmocka_unit_test(listeners_leave_time_for_connections),
        cmocka_unit_test(who_parks_forgets_the_listener),
        cmocka_unit_test(process_max_is_obeyed),
        cmocka_unit_test(thread_refused),
        cmocka_unit_test(max_requests_asks_for_a_swap),
        cmocka_unit_test(drain_finishes_what_runs),
        cmocka_unit_test(the_first_serves_before_the_others_stand),
        cmocka_unit_test(no_more_serve_than_there_are),
        cmocka_unit_test(a_pool_that_ends_makes_no_more),
        cmocka_unit_test(page_workers_are_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
