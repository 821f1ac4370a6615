/* The three clocks. Any thread; nothing is stored. */
#include "engine/base/clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now); /* cannot fail for the three clocks below */
    return (uint64_t)now.tv_sec * CLOCK_US_PER_SECOND + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_coarse_us(void)
{
    return read_us(CLOCK_MONOTONIC_COARSE);
}

uint64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}
