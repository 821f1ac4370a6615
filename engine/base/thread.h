/* Threads beside the workers: loops, helpers, writers. */
#ifndef ENGINE_BASE_THREAD_H
#define ENGINE_BASE_THREAD_H

#include <pthread.h>

/* Starts run(arg) with all signals blocked but faults: what is sent to the process belongs to its control
 * thread, and a crash must be reported as one (a blocked fault ends the process without a word). 0 or an
 * errno value. Any thread. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
