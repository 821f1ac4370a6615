/* A thread is born with its signal mask, so that no signal can reach it before. */
#include "engine/base/thread.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t blocked, before;

    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        sigdelset(&blocked, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(thread, NULL, run, arg);

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

bool thread_lock_within(pthread_mutex_t *lock, int limit_ms)
{
    for (int ms = 0; pthread_mutex_trylock(lock) != 0; ms++) {
        if (ms == limit_ms) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}
