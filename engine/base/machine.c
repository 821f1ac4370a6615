/* CPU and memory limits. A process sees its own cgroup below /sys/fs/cgroup: in a container usually as the
 * root, else at the path that /proc/self/cgroup names. Both are tried; missing files mean no limit. */
#include "engine/base/machine.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The first line of a file below /sys/fs/cgroup. */
static bool read_line(const char *directory, const char *name, char *out, size_t size)
{
    char path[PATH_MAX];

    int n = snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", directory, name);
    FILE *file = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (!file) {
        return false;
    }
    bool read = fgets(out, (int)size, file) != NULL;
    fclose(file);
    return read;
}

/* Our path in the hierarchy that has the controller; "" is its root. v2 lines begin with "0::". */
static void own_cgroup(const char *controller, bool v2, char *out, size_t size)
{
    char line[PATH_MAX];
    FILE *file = fopen("/proc/self/cgroup", "re");

    snprintf(out, size, "%s", "");
    while (file && fgets(line, sizeof line, file)) {
        char *path = strstr(line, ":/");
        bool ours = v2 ? strncmp(line, "0::", 3) == 0 : strstr(line, controller) != NULL;
        if (ours && path) {
            path[strcspn(path, "\n")] = '\0';
            snprintf(out, size, "%s", strcmp(path + 1, "/") == 0 ? "" : path + 1);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
}

/* A cgroup file of v2, or of v1 in the controller's own folder. */
static bool read_limit(const char *controller, const char *v2_name, const char *v1_name, char *out,
                       size_t size)
{
    char own[PATH_MAX], v1[PATH_MAX + 32];

    own_cgroup(controller, true, own, sizeof own);
    if (v2_name && (read_line(own, v2_name, out, size) || read_line("", v2_name, out, size))) {
        return true;
    }
    own_cgroup(controller, false, own, sizeof own);
    snprintf(v1, sizeof v1, "/%s%s", controller, own);
    if (v1_name && read_line(v1, v1_name, out, size)) {
        return true;
    }
    snprintf(v1, sizeof v1, "/%s", controller);
    return v1_name && read_line(v1, v1_name, out, size);
}

/* CPUs that the cgroup's quota allows, rounded up; 0 = no quota. */
static unsigned quota_cpus(void)
{
    char text[128], period_text[128];
    long long quota = 0, period = 0;

    if (read_limit("cpu", "cpu.max", NULL, text, sizeof text)) {
        if (sscanf(text, "%lld %lld", &quota, &period) != 2) {
            return 0; /* "max" */
        }
    } else if (read_limit("cpu", NULL, "cpu.cfs_quota_us", text, sizeof text) &&
               read_limit("cpu", NULL, "cpu.cfs_period_us", period_text, sizeof period_text)) {
        if (sscanf(text, "%lld", &quota) != 1 || sscanf(period_text, "%lld", &period) != 1) {
            return 0;
        }
    }
    return quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

unsigned machine_cpus(void)
{
    cpu_set_t set;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned cpus = online > 0 ? (unsigned)online : 1;
    unsigned quota = quota_cpus();

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        cpus = (unsigned)CPU_COUNT(&set);
    }
    return quota > 0 && quota < cpus ? quota : cpus;
}

/* 0: no such file, or no number ("max"; v1 writes "none" as a huge one). */
static uint64_t memory_number(const char *v2_name, const char *v1_name)
{
    char text[128];
    unsigned long long bytes = 0;

    if (!read_limit("memory", v2_name, v1_name, text, sizeof text) || sscanf(text, "%llu", &bytes) != 1) {
        return 0;
    }
    return bytes < (1ULL << 60) ? bytes : 0;
}

uint64_t machine_cgroup_memory(void)
{
    return memory_number("memory.max", "memory.limit_in_bytes");
}

uint64_t machine_cgroup_memory_used(void)
{
    return memory_number("memory.current", "memory.usage_in_bytes");
}

uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    uint64_t limit = machine_cgroup_memory();

    return limit > 0 && (memory == 0 || limit < memory) ? limit : memory;
}

uint64_t machine_memory_available(void)
{
    char line[256];
    unsigned long long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "re");

    while (file && kilobytes == 0 && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) != 1) {
            kilobytes = 0;
        }
    }
    if (file) {
        fclose(file);
    }
    return kilobytes * 1024;
}
