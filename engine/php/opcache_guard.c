/* What keeps OPcache from restarting: a lock on its memory's "in use" byte that belongs to the open file and
 * to no process, so that this process, too, finds it taken. Main thread. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/php/opcache_lock.h"
#include "engine/php/opcache_private.h"

static int lock_fd = -1; /* constant once there are threads */

static bool is_lock_file(const char *link)
{
    return strncmp(link, "/memfd:opcache_lock", 19) == 0 || strstr(link, "/.ZendSem.") != NULL;
}

/* Without /proc: the one empty file that has no name and knows of seals. */
static int guess_lock_file(void)
{
    struct stat st;

    for (int fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GET_SEALS) >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 0) {
            return fd;
        }
    }
    return -1;
}

static int find_lock_file(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int found = -1;

    if (!fds) {
        return guess_lock_file();
    }
    for (struct dirent *e = readdir(fds); e && found < 0; e = readdir(fds)) {
        char link[256];
        ssize_t n = readlinkat(dirfd(fds), e->d_name, link, sizeof link - 1);

        if (n > 0) {
            link[n] = '\0';
            found = is_lock_file(link) ? atoi(e->d_name) : -1;
        }
    }
    closedir(fds);
    return found;
}

/* It ends with the last descriptor of that file. Where the kernel has no such locks (some sandboxes), OPcache
 * is told the same by the fcntl() that it calls (opcache_lock.h). */
static void hold(int fd)
{
    struct flock used = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};

    if (fcntl(fd, F_OFD_SETLK, &used) != 0) {
        log_sys(LEVEL_DEBUG, "OPcache's lock is not the kernel's");
    }
    opcache_lock_answer(fd);
}

void opcache_guard(void)
{
    lock_fd = find_lock_file();
    if (lock_fd >= 0) {
        hold(lock_fd);
    }
}

bool opcache_guarded(void)
{
    return lock_fd >= 0;
}
