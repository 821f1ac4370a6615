/* Workers that wait for a lock which a crash has taken along: PHP's, OPcache's, malloc's, a library's. Nobody
 * will ever release it, so whoever waits for it is lost as well, and a process that drains need not wait for
 * him. */
#ifndef ENGINE_WORK_STUCK_H
#define ENGINE_WORK_STUCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A part of struct worker. What the worker's own thread last said of the wait that it is in, in a handler of
 * WORKER_SIGNAL_TRACE, and what the control thread makes of it. */
struct stuck_wait {
    _Atomic uintptr_t word; /* of the futex it waits for without a limit; 0 = it does not. Its thread */
    bool of_rwlock;         /* its thread, before word */
    _Atomic uint64_t sleep; /* of which of its sleeps it said so; 0 = of none yet. Its thread, after word */
    uint64_t since_us;      /* control thread: that wait was seen to last */
    bool for_ever;          /* control thread: it is lost for that reason */
};

#endif
