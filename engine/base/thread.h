/* Threads beside the workers: loops, helpers, writers. */
#ifndef ENGINE_BASE_THREAD_H
#define ENGINE_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* Starts run(arg) with all signals blocked but faults: what is sent to the process belongs to its control
 * thread, and a crash must be reported as one (a blocked fault ends the process without a word). 0 or an
 * errno value. Any thread. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);
/* For a lock that a lost thread may have taken along, and everybody else has for a moment. False: not within
 * that time. (Not pthread_mutex_clocklock(): the thread sanitizer does not know it.) */
bool thread_lock_within(pthread_mutex_t *lock, int limit_ms);

#endif
