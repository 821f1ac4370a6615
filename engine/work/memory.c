/* pm.max_memory is the ceiling of this process's resident memory: it is replaced when it comes near, and
 * looked at on every tick, because a leak does not wait a second. Without it the cgroup's limit decides: when
 * the group is nearly full, the process that holds a large part of it is replaced, before the kernel kills
 * one.
 */
#include <stdio.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/machine.h"
#include "engine/work/memory.h"
#include "engine/work/pool_private.h"

/* A ceiling below what a fresh process needs must not make a chain of swaps: until this time it has to have
 * grown by half as well. */
#define MEMORY_GRACE_US (10 * CLOCK_US_PER_SECOND)
#define STEP            2u /* looks in a part of those that are kept: 100 ms */
#define STEPS_AHEAD     5u /* half a second: longer than a successor takes to be ready */

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file) {
        return 0;
    }
    bool read = fscanf(file, "%*u %llu", &pages) == 1;

    fclose(file);
    return read ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t memory_expect(struct memory_watch *watch, uint64_t resident)
{
    uint64_t least = UINT64_MAX;

    watch->looks[watch->seen++ % MEMORY_LOOKS] = resident;
    if (watch->seen < MEMORY_LOOKS) {
        return resident;
    }
    for (unsigned i = 0; i + STEP < MEMORY_LOOKS; i += STEP) {
        /* seen % MEMORY_LOOKS is the oldest. */
        uint64_t before = watch->looks[(watch->seen + i) % MEMORY_LOOKS];
        uint64_t after = watch->looks[(watch->seen + i + STEP) % MEMORY_LOOKS];
        uint64_t grown = after > before ? after - before : 0;

        least = grown < least ? grown : least;
    }
    return resident + least * STEPS_AHEAD;
}

void memory_start(struct pool *pool)
{
    struct memory_watch *watch = &pool->memory;

    if (pool->conf->s.max_memory > 0) {
        watch->limit = (uint64_t)pool->conf->s.max_memory;
    } else {
        watch->cgroup_limit = machine_cgroup_memory();
    }
    watch->first = resident_bytes();
}

static bool is_worth_a_swap(const struct pool *pool, uint64_t resident, uint64_t now)
{
    return now - pool->started_us >= MEMORY_GRACE_US || resident > pool->memory.first / 2 * 3;
}

void memory_tick(struct pool *pool, uint64_t now)
{
    struct memory_watch *watch = &pool->memory;

    if (!watch->limit || now < watch->next_us) {
        return;
    }
    uint64_t resident = resident_bytes();

    watch->next_us = now + MEMORY_LOOK_US;
    if (memory_expect(watch, resident) > watch->limit / 10 * 9 && is_worth_a_swap(pool, resident, now)) {
        pool_request_swap(pool, "pm.max_memory is reached");
    }
}

void memory_check_group(struct pool *pool, uint64_t now)
{
    struct memory_watch *watch = &pool->memory;

    if (watch->limit || !watch->cgroup_limit) {
        return;
    }
    uint64_t resident = resident_bytes();
    uint64_t used = machine_cgroup_memory_used();

    if (used > watch->cgroup_limit / 10 * 9 && resident > used / 4 && is_worth_a_swap(pool, resident, now)) {
        pool_request_swap(pool, "the control group's memory is nearly full");
    }
}
