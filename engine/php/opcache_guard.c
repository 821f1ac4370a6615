/* The process that keeps OPcache from restarting: a child that holds the lock of a user of OPcache's memory
 * for as long as this process lives. Started, looked after and stopped by the main thread, which is also the
 * control thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/php/opcache_lock.h"
#include "engine/php/opcache_private.h"

static pid_t guard = -1;
static int guard_pipe = -1;
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

/* Everything but these three, which become 0, 1 and 2. Their numbers are all above 2: those were open. */
static void keep_three(int a, int b, int c)
{
    dup2(a, 0);
    dup2(b, 1);
    dup2(c, 2);
#ifdef HAVE_CLOSE_RANGE
    if (close_range(3, ~0u, 0) == 0) {
        return;
    }
#endif
    for (int fd = 3; fd < 65536; fd++) {
        close(fd);
    }
}

/* The child. Only async-signal-safe calls: the parent may have threads. */
static _Noreturn void guard_main(int parent, int ready)
{
    struct flock used = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    sigset_t all;
    char byte = 0;

    opcache_lock_skip(-1);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "opcache-guard");
    keep_three(parent, ready, lock_fd);
    if (fcntl(2, F_SETLK, &used) == 0 && write(1, &byte, 1) == 1) {
        close(1);
        while (read(0, &byte, 1) < 0 && errno == EINTR) {
        }
    }
    _exit(0);
}

static bool start_guard(void)
{
    int alive[2], ready[2];
    char byte;

    if (pipe2(alive, O_CLOEXEC) < 0) {
        return false;
    }
    if (pipe2(ready, O_CLOEXEC) < 0) {
        close(alive[0]);
        close(alive[1]);
        return false;
    }
    guard = fork();
    if (guard == 0) {
        close(alive[1]);
        guard_main(alive[0], ready[1]);
    }
    close(alive[0]);
    close(ready[1]);
    bool holds = guard > 0 && read(ready[0], &byte, 1) == 1;

    close(ready[0]);
    guard_pipe = alive[1];
    opcache_lock_skip(holds ? lock_fd : -1);
    return holds;
}

void opcache_guard_stop(void)
{
    if (guard_pipe >= 0) {
        close(guard_pipe);
        guard_pipe = -1;
    }
    if (guard > 0) {
        waitpid(guard, NULL, 0);
        guard = -1;
    }
}

void opcache_find(void)
{
    lock_fd = find_lock_file();
}

bool opcache_guard_start(void)
{
    return lock_fd < 0 || start_guard();
}

bool opcache_guarded(void)
{
    return lock_fd >= 0;
}

void opcache_guard_look(void)
{
    if (guard > 0 && waitpid(guard, NULL, WNOHANG) == guard) {
        log_warning("OPcache's guard process has ended; starting another");
        opcache_lock_skip(-1);
        close(guard_pipe);
        guard_pipe = -1;
        guard = -1;
        start_guard();
    }
}
