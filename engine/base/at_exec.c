/* See at_exec.h. */
#include "engine/base/at_exec.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif

struct directory_entry { /* of getdents64(2) */
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static void close_at_exec(int fd)
{
    syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/* 0 to 9 digits, else -1. */
static int number_of(const char *name)
{
    int n = 0;

    for (const char *at = name; *at; at++) {
        if (*at < '0' || *at > '9' || at - name > 8) {
            return -1;
        }
        n = n * 10 + (*at - '0');
    }
    return *name ? n : -1;
}

static bool close_named(void)
{
    _Alignas(struct directory_entry) char buffer[4096];
    int fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long n = 0;

    while (fds >= 0 && (n = syscall(SYS_getdents64, fds, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < n;) {
            const struct directory_entry *entry = (const void *)(buffer + at);
            int fd = number_of(entry->name);

            if (fd >= AT_EXEC_FIRST) {
                close_at_exec(fd);
            }
            at += entry->size;
        }
    }
    if (fds >= 0) {
        close(fds);
    }
    return fds >= 0 && n == 0;
}

/* Kernels before 5.11 have no such call, and a seccomp filter may not know it. */
void at_exec_close_others(void)
{
    struct rlimit files = {.rlim_cur = 1024};

    if (syscall(SYS_close_range, AT_EXEC_FIRST, ~0u, CLOSE_RANGE_CLOEXEC) == 0 || close_named()) {
        return;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    for (int fd = AT_EXEC_FIRST; fd < (int)(files.rlim_cur < 65536 ? files.rlim_cur : 65536); fd++) {
        close_at_exec(fd);
    }
}
