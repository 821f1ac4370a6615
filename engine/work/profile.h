/* What the workers of this process spend their time with: their requests are looked at some times a second,
 * from outside (executor.h: look), and counted by stack. Control thread. */
#ifndef ENGINE_WORK_PROFILE_H
#define ENGINE_WORK_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

struct pool;

#define PROFILE_HZ_MAX      1000
#define PROFILE_SECONDS_MAX 600

struct profile_order {
    unsigned hz, ms;
    bool quiet; /* wakes nobody up: ends when the process rests */
    int fd;     /* a pipe's end, taken */
};
/* Samples for so long; then the stacks leave through the pipe, which is closed. Lines of
 * "cpu;GET_/url;/script.php;function;function COUNT", or "wait;..." where the thread slept in the kernel. It
 * ends early when nobody reads the pipe any more. Of a few at a time; one more ends at once. */
void profile_begin(struct pool *pool, const struct profile_order *order);
/* To be called again after so many microseconds; -1: there is no need to. rests: the process would sleep. */
int64_t profile_tick(struct pool *pool, uint64_t now, bool rests);
/* The process ends: what there is leaves as far as the pipes have room. */
void profile_end(void);

#endif
