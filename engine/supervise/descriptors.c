/* After a fork: which descriptors stay. One close_range(2) for each gap between the kept ones; where the
 * kernel has no such call, what /proc/self/fd names. Single-threaded; the list is the caller's until
 * keep_only frees it. */
#include "engine/supervise/descriptors.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/str.h"

void keep_add(struct keep_list *keep, int fd)
{
    if (fd < 0) {
        return;
    }
    if (keep->count == keep->size) {
        keep->size = keep->size ? keep->size * 2 : 32;
        keep->fds = xrealloc(keep->fds, keep->size * sizeof(*keep->fds));
    }
    keep->fds[keep->count++] = fd;
}

static int compare(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool close_gap(unsigned first, unsigned last)
{
#ifdef SYS_close_range
    return first > last || syscall(SYS_close_range, first, last, 0) == 0;
#else
    return first > last;
#endif
}

static bool close_gaps(const struct keep_list *keep)
{
    unsigned next = 0;
    for (size_t i = 0; i < keep->count; i++) {
        unsigned fd = (unsigned)keep->fds[i];
        if (fd > next && !close_gap(next, fd - 1)) {
            return false;
        }
        next = fd + 1;
    }
    return close_gap(next, UINT_MAX);
}

static void close_named(const struct keep_list *keep)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != dirfd(dir) &&
            !bsearch(&fd, keep->fds, keep->count, sizeof(fd), compare)) {
            close(fd);
        }
    }
    closedir(dir);
}

void keep_only(struct keep_list *keep)
{
    if (keep->count > 0) {
        qsort(keep->fds, keep->count, sizeof(*keep->fds), compare);
    }
    if (!close_gaps(keep)) {
        close_named(keep);
    }
    free(keep->fds);
    *keep = (struct keep_list){0};
}
