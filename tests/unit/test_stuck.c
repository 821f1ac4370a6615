/* Who waits for a lock that a crash has taken along is lost, and nobody else is. The sanitizers catch the
 * crash, or the signal, before the engine could: their builds only check that the program links. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "engine/base/must.h"
#include "engine/work/crash.h"
#include "engine/work/request.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/sanitizer.h"
#include "tests/support/test_executor.h"
#include "tests/support/test_pool.h"

/* Made anew for each test: what a crash has taken stays taken. */
struct locks {
    pthread_mutex_t mutex, second;
    pthread_rwlock_t rwlock;
    pthread_cond_t cond;
    _Atomic int bare;  /* as malloc's: 0 free, 1 taken, 2 taken and waited for */
    _Atomic int *gone; /* in a page that is not there any more while it is waited on */
    bool arrived;      /* under mutex: what cond tells of */
    _Atomic bool needed_to_start;
};
static struct locks *locks;

static void bare_lock(_Atomic int *lock)
{
    if (atomic_exchange(lock, 1) != 0) {
        while (atomic_exchange(lock, 2) != 0) {
            syscall(SYS_futex, lock, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
        }
    }
}

static void take(const char *uri)
{
    if (strcmp(uri, "/mutex") == 0) {
        pthread_mutex_lock(&locks->mutex);
    } else if (strcmp(uri, "/second") == 0) {
        pthread_mutex_lock(&locks->second);
        pthread_mutex_lock(&locks->mutex);
    } else if (strcmp(uri, "/third") == 0) {
        pthread_mutex_lock(&locks->second);
    } else if (strcmp(uri, "/read") == 0) {
        pthread_rwlock_rdlock(&locks->rwlock);
    } else if (strcmp(uri, "/write") == 0) {
        pthread_rwlock_wrlock(&locks->rwlock);
    } else if (strcmp(uri, "/bare") == 0) {
        bare_lock(&locks->bare);
    }
}

static void wait_cond(void)
{
    pthread_mutex_lock(&locks->mutex);
    while (!locks->arrived) {
        pthread_cond_wait(&locks->cond, &locks->mutex);
    }
    pthread_mutex_unlock(&locks->mutex);
}

static void wait_gone(void)
{
    syscall(SYS_futex, locks->gone, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

/* ?die: takes the lock along. ?MS: keeps it for so long. */
static void run(struct worker *w, struct request *r)
{
    if (strcmp(r->uri, "/cond") == 0) {
        wait_cond();
    } else if (strcmp(r->uri, "/gone") == 0) {
        wait_gone();
    } else if (strcmp(r->uri, "/echo") == 0 || strcmp(r->uri, "/segv") == 0) {
        test_executor.run(w, r);
        return;
    } else {
        take(r->uri);
    }
    if (strcmp(r->query, "die") == 0) {
        volatile uintptr_t nowhere = 16;

        *(volatile int *)nowhere = 1;
    }
    usleep((useconds_t)atoi(r->query) * 1000);
    if (strcmp(r->uri, "/mutex") == 0) {
        pthread_mutex_unlock(&locks->mutex);
    }
    request_send_head(r, &(struct response_head){.status = 200});
    request_finish(r);
}

static int thread_start(struct worker *w)
{
    if (atomic_load(&locks->needed_to_start)) {
        pthread_mutex_lock(&locks->mutex);
    }
    return test_executor.thread_start(w);
}

static struct test_pool *start(int children)
{
    static struct test_pool pools[16]; /* they stay: lost threads may look */
    static struct executor executor;
    static int used;
    struct test_pool *t = &pools[used++];

    MUST(used <= 16);
    locks = calloc(1, sizeof(*locks));
    MUST(locks);
    pthread_mutex_init(&locks->mutex, NULL);
    pthread_mutex_init(&locks->second, NULL);
    pthread_rwlock_init(&locks->rwlock, NULL);
    pthread_cond_init(&locks->cond, NULL);
    executor = test_executor;
    executor.run = run;
    executor.thread_start = thread_start;
    test_pool_init(t, children);
    test_pool_start(t, &executor);
    crash_install();
    return t;
}

static struct memory_call *ask(struct test_pool *t, const char *uri, const char *query)
{
    struct memory_call *call = memory_call_new(t->pool, "GET", uri, query, NULL);

    MUST(memory_submit(call) == SUBMIT_OK);
    return call;
}

static bool is_abandoned(void *ctx)
{
    return ((struct memory_call *)ctx)->abandoned != 0;
}

static bool is_done(void *ctx)
{
    return memory_done(ctx);
}

static bool is_idle(void *ctx)
{
    return pool_idle(((struct test_pool *)ctx)->pool);
}

static void must_be_lost(struct test_pool *t, struct memory_call *call)
{
    assert_true(test_pool_until(t, is_abandoned, call, 60000));
    assert_int_equal(call->abandoned, 500);
    assert_true(call->abandoned_lock);
    assert_int_equal(call->finishes, 0);
}

/* Who dies with `dies` in hand takes those along that ask for `wait` later. */
static void taken_along(const char *dies, const char *wait)
{
    struct test_pool *t = start(3);

    must_be_lost(t, ask(t, dies, "die"));
    struct memory_call *first = ask(t, wait, ""), *second = ask(t, wait, "");

    must_be_lost(t, first);
    must_be_lost(t, second);
    assert_true(test_pool_logged(t, "waits for a lock that a crash has taken along, and is written off"));
    assert_true(test_pool_until(t, is_idle, t, 60000)); /* so a drain is not held up */
    struct memory_call *after = memory_call_new(t->pool, "GET", "/echo", "", NULL);

    test_pool_call(t, after, 60000);
    assert_int_equal(after->status, 200);
    test_pool_stop(t);
}

static void a_mutex(void **state)
{
    (void)state;
    taken_along("/mutex", "/mutex");
}

static void a_lock_for_reading_and_writing(void **state)
{
    (void)state;
    taken_along("/write", "/read");
    taken_along("/write", "/write");
}

static void a_lock_without_an_owner(void **state)
{
    (void)state;
    taken_along("/bare", "/bare");
}

/* The third waits for the second, who waits for the dead. */
static void a_chain(void **state)
{
    struct test_pool *t = start(3);

    (void)state;
    must_be_lost(t, ask(t, "/mutex", "die"));
    struct memory_call *second = ask(t, "/second", "");

    test_pool_run(t, 100);
    struct memory_call *third = ask(t, "/third", "");

    must_be_lost(t, second);
    must_be_lost(t, third);
    test_pool_stop(t);
}

/* The same waits, but for somebody who lives. */
static void whoever_waits_for_the_living_is_left_alone(void **state)
{
    struct test_pool *t = start(5);

    (void)state;
    must_be_lost(t, ask(t, "/segv", ""));
    struct memory_call *told = ask(t, "/cond", "");

    test_pool_run(t, 100);
    struct memory_call *owner = ask(t, "/mutex", "9000");

    test_pool_run(t, 100);
    struct memory_call *waiter = ask(t, "/mutex", "");

    test_pool_run(t, 8000); /* longer than the grace of a lock without an owner */
    assert_false(is_abandoned(told) || is_abandoned(owner) || is_abandoned(waiter));
    assert_true(test_pool_until(t, is_done, owner, 60000));
    assert_true(test_pool_until(t, is_done, waiter, 60000));
    pthread_mutex_lock(&locks->mutex);
    locks->arrived = true;
    pthread_cond_broadcast(&locks->cond);
    pthread_mutex_unlock(&locks->mutex);
    assert_true(test_pool_until(t, is_done, told, 60000));
    assert_int_equal(told->status + owner->status + waiter->status, 600);
    test_pool_stop(t);
}

/* A word may be on no lock at all, and in memory that somebody gives back. */
static void what_is_waited_on_is_gone(void **state)
{
    struct test_pool *t = start(3);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    locks->gone = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(locks->gone, MAP_FAILED);
    must_be_lost(t, ask(t, "/segv", ""));
    struct memory_call *waiter = ask(t, "/gone", "");

    test_pool_run(t, 3000); /* it has been asked what it waits on, and is looked at each second */
    assert_int_equal(munmap(locks->gone, page), 0);
    test_pool_run(t, 3000);
    assert_false(is_abandoned(waiter));
    while (!memory_done(waiter)) {
        syscall(SYS_futex, locks->gone, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        test_pool_run(t, 20);
    }
    assert_int_equal(waiter->status, 200);
    test_pool_stop(t);
}

static bool is_lost(void *ctx)
{
    struct test_pool *t = ctx;

    return pool_is_lost(t->pool) && pool_idle(t->pool);
}

/* What a new thread needs is gone: no more are made, and the pool is none. */
static void new_threads_need_it(void **state)
{
    struct test_pool *t = start(1);

    (void)state;
    atomic_store(&locks->needed_to_start, true);
    must_be_lost(t, ask(t, "/mutex", "die"));
    assert_true(test_pool_until(t, is_lost, t, 60000));
    uint32_t slots = t->board->numbers->slots_used;

    test_pool_run(t, 3000);
    assert_int_equal(t->board->numbers->slots_used, slots);
    assert_true(is_lost(t));
    test_pool_stop(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mutex),
        cmocka_unit_test(a_lock_for_reading_and_writing),
        cmocka_unit_test(a_lock_without_an_owner),
        cmocka_unit_test(a_chain),
        cmocka_unit_test(whoever_waits_for_the_living_is_left_alone),
        cmocka_unit_test(what_is_waited_on_is_gone),
        cmocka_unit_test(new_threads_need_it),
    };

    return run_unless_sanitized(ADDRESS_SANITIZED || THREAD_SANITIZED, tests);
}
