/* A thread's signals: what is for the process passes it by, faults reach it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/thread.h"

static sigset_t seen;

static void *look(void *arg)
{
    pthread_sigmask(SIG_SETMASK, NULL, &seen);
    return arg;
}

static void faults_are_open(void **state)
{
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static const int blocked[] = {SIGTERM, SIGQUIT, SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE};
    sigset_t before, after;
    pthread_t thread;
    int token;
    void *result;

    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(thread_start(&thread, look, &token), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &token);
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        assert_false(sigismember(&seen, open[i]));
    }
    for (size_t i = 0; i < sizeof(blocked) / sizeof(blocked[0]); i++) {
        assert_true(sigismember(&seen, blocked[i]));
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after); /* the caller's is what it was */
    for (int i = 1; i < SIGRTMAX; i++) {
        assert_int_equal(sigismember(&before, i), sigismember(&after, i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(faults_are_open)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
