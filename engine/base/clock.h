/* Time. Monotonic microseconds for everything that is measured or waited for; wall time only for people. Any
 * thread. */
#ifndef ENGINE_BASE_CLOCK_H
#define ENGINE_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_US_PER_SECOND 1000000ULL

uint64_t clock_us(void);        /* CLOCK_MONOTONIC, exact */
uint64_t clock_coarse_us(void); /* CLOCK_MONOTONIC_COARSE: a few ms late, a few ns to ask */
uint64_t clock_wall_us(void);   /* CLOCK_REALTIME since the epoch */

#endif
