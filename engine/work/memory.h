/* How near an engine process is to the memory that it may use.
 *
 * A leak under load can be faster than a generation swap, so the ceiling is held by looking ahead: what the
 * process has steadily grown by, it will also grow by while its successor starts. Where that was too little,
 * the workers begin no request until the successor serves. One request that needs much is not held back by
 * this: that is memory_limit's part.
 *
 * Threads: the control thread's, but for the fields that say otherwise.
 */
#ifndef ENGINE_WORK_MEMORY_H
#define ENGINE_WORK_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_LOOK_US 50000u
#define MEMORY_LOOKS   9u /* kept: eight steps, 400 ms */

struct memory_watch {
    uint64_t limit; /* pm.max_memory, bytes; 0 = none. Set before there is a worker, then any thread reads */
    uint64_t cgroup_limit; /* bytes; 0 = none; only asked where `limit` is 0 */
    uint64_t first;        /* resident bytes at the start; as `limit` */
    uint64_t next_us;      /* time of the next look */
    uint64_t looks[MEMORY_LOOKS];
    unsigned seen; /* looks taken */
    bool warned;   /* that no successor came */

    _Atomic uint64_t noted_us; /* workers: the last look of one of them */
    _Atomic uint64_t
        held_until_us; /* workers set it once: none begins a request before; 0 = none is held back */
};

/* Remembers one look, `resident` bytes, and returns the bytes to expect half a second from now: the present
 * ones, and more only if the process grew during every part of the looks that are kept. One request that uses
 * much for a moment moves nothing. */
uint64_t memory_expect(struct memory_watch *watch, uint64_t resident);

/* Whether a process with so many resident bytes should begin no request any more. One that is near its
 * ceiling from the start never is: its successors would be, too. */
bool memory_is_full(const struct memory_watch *watch, uint64_t resident);

#endif
