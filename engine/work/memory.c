/* pm.max_memory is the ceiling of this process's resident memory: it is replaced when it comes near, and
 * looked at on every tick, because a leak does not wait a second. A successor that takes its time, on a busy
 * machine, must not cost the promise: a process that is full all the same begins no request until the
 * successor serves. Requests wait where they are, in the listener, in idle connections, in the queue.
 *
 * Without pm.max_memory the cgroup's limit decides: when the group is nearly full, the process that holds a
 * large part of it is replaced, before the kernel kills one. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/machine.h"
#include "engine/base/proc_file.h"
#include "engine/work/memory.h"
#include "engine/work/pool_private.h"

/* A ceiling below what a fresh process needs must not make a chain of swaps: until this time it has to have
 * grown by half as well. */
#define MEMORY_GRACE_US (10 * CLOCK_US_PER_SECOND)
#define STEP            2u /* looks in a part of those that are kept: 100 ms */
#define STEPS_AHEAD     5u /* half a second: longer than a successor takes to be ready */

/* Workers look once in a while only: three system calls. */
#define NOTE_US 1000u
/* Serving beyond the ceiling is better than not at all, if no successor comes. */
#define HOLD_MOST_US (15 * CLOCK_US_PER_SECOND)
#define HOLD_LOOK_US 2000u

static uint64_t resident_bytes(void)
{
    char text[128];

    proc_file_read("/proc/self/statm", text, sizeof(text));
    const char *second = strchr(text, ' ');

    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
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
    uint64_t held_until = atomic_load(&watch->held_until_us);

    if (!watch->limit || (now < watch->next_us && !held_until)) {
        return;
    }
    uint64_t resident = resident_bytes();

    watch->next_us = now + MEMORY_LOOK_US;
    if (held_until) {
        pool_plan_swap(pool, "pm.max_memory is reached"); /* requests wait for it */
    } else if (memory_expect(watch, resident) > watch->limit / 10 * 9 &&
               is_worth_a_swap(pool, resident, now)) {
        pool_request_swap(pool, "pm.max_memory is reached");
    }
    if (held_until && now > held_until && !watch->warned && !atomic_load(&pool->draining)) {
        watch->warned = true;
        log_warning("[pool %s] pm.max_memory is reached and no successor is ready: serving beyond it",
                    pool->conf->name);
    }
}

bool memory_is_full(const struct memory_watch *watch, uint64_t resident)
{
    return watch->limit > 0 && watch->first < watch->limit / 4 * 3 && resident > watch->limit / 16 * 15;
}

void memory_note(struct pool *pool, uint64_t now)
{
    struct memory_watch *watch = &pool->memory;
    uint64_t noted = atomic_load_explicit(&watch->noted_us, memory_order_relaxed);

    if (!watch->limit || now - noted < NOTE_US ||
        atomic_load_explicit(&watch->held_until_us, memory_order_relaxed) ||
        !atomic_compare_exchange_strong(&watch->noted_us, &noted, now)) {
        return;
    }
    if (memory_is_full(watch, resident_bytes()) && !atomic_load(&pool->draining)) {
        atomic_store(&watch->held_until_us, now + HOLD_MOST_US);
        pool_wake_control(pool);
    }
}

bool memory_holds(const struct pool *pool, uint64_t now)
{
    return now < atomic_load_explicit(&pool->memory.held_until_us, memory_order_relaxed) &&
           !atomic_load(&pool->draining) && !atomic_load(&pool->ending);
}

void memory_wait(const struct pool *pool)
{
    while (atomic_load_explicit(&pool->memory.held_until_us, memory_order_relaxed) &&
           memory_holds(pool, clock_us())) {
        usleep(HOLD_LOOK_US);
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
