/* The size of the machine: within what the kernel says, whatever limits there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sched.h>
#include <unistd.h>

#include "engine/base/machine.h"

static void counts_cpus(void **state)
{
    cpu_set_t set, one;
    unsigned cpus = machine_cpus();

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_in_range(cpus, 1, CPU_COUNT(&set));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &set)) {
            CPU_SET(i, &one);
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(machine_cpus(), 1);
    sched_setaffinity(0, sizeof set, &set);
}

static void measures_memory(void **state)
{
    uint64_t installed = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = machine_cgroup_memory();

    (void)state;
    assert_in_range(machine_memory(), 1, installed);
    assert_in_range(machine_memory_available(), 1, installed);
    assert_true(limit == 0 || machine_cgroup_memory_used() > 0);
    if (limit > 0) {
        assert_true(machine_memory() <= limit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_cpus), cmocka_unit_test(measures_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
