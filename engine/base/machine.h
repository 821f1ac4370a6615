/* How large the machine is, as far as this process may use it: CPU affinity and cgroup limits (v1 and v2)
 * included. Any thread; reads files each time, so ask at start, or seldom. */
#ifndef ENGINE_BASE_MACHINE_H
#define ENGINE_BASE_MACHINE_H

#include <stdint.h>

unsigned machine_cpus(void);               /* at least 1; a fraction of a CPU counts as one */
uint64_t machine_memory(void);             /* bytes; 0 = unknown */
uint64_t machine_cgroup_memory(void);      /* bytes, the cgroup's limit alone; 0 = none */
uint64_t machine_cgroup_memory_used(void); /* bytes, of all in the cgroup; 0 = unknown */
uint64_t machine_memory_available(void); /* bytes, of the whole machine: what programs can get; 0 = unknown */

#endif
