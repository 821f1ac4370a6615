/* What the workers of this process spend their time with: a sample of each running request some times a
 * second, taken as the slow log takes its traces, and counted by stack. Control thread, but for
 * profile_answer. */
#ifndef ENGINE_WORK_PROFILE_H
#define ENGINE_WORK_PROFILE_H

#include <stdint.h>

struct pool;
struct worker;

#define PROFILE_HZ_MAX      1000
#define PROFILE_SECONDS_MAX 600

/* Samples for so many milliseconds; then the stacks leave on fd, a pipe, which is closed. Lines of
 * "cpu;GET /url;/script.php;function;function COUNT", or "wait;..." where the thread slept in the kernel. fd
 * is taken; one profile at a time, a second one ends at once. */
void profile_begin(struct pool *pool, unsigned hz, unsigned ms, int fd);
/* To be called again after so many milliseconds; -1: nothing is sampled. */
int profile_tick(struct pool *pool, uint64_t now);

/* On the worker's own thread, in the handler of WORKER_SIGNAL_TRACE. */
void profile_answer(struct worker *w);

#endif
