/* Daemonizing as php-fpm does it: the caller's process stays until the supervisor has started or failed, so
 * that an init script sees the truth in the exit code. One byte on a pipe carries it: the exit code. */
#include "engine/supervise/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/supervisor.h"

#define REPORT_WAIT_MS 10000

static _Noreturn void wait_for_report(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    unsigned char code = EXIT_SOFTWARE;
    int rc;
    do {
        rc = poll(&p, 1, REPORT_WAIT_MS);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0) {
        log_error("the master process didn't send back its status (via the pipe to the calling process)");
    } else if (rc < 0 || read(fd, &code, 1) != 1) {
        log_error("no data have been read from pipe");
        code = EXIT_SOFTWARE;
    }
    _exit(code);
}

int daemon_fork(void)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        log_sys(LEVEL_ERROR, "failed to create pipe");
        return -1;
    }
    pid_t pid = fork();
    if (pid < 0) {
        log_sys(LEVEL_ERROR, "failed to daemonize");
        close(fds[0]);
        close(fds[1]);
        return -1;
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_report(fds[0]);
    }
    close(fds[0]);
    return fds[1];
}

/* A failure of any kind is 70 for the caller: 78 is what the foreground says. */
void daemon_report(int *report_fd, int exit_code)
{
    unsigned char code = exit_code == EXIT_OK ? EXIT_OK : EXIT_SOFTWARE;
    if (*report_fd < 0) {
        return;
    }
    if (write(*report_fd, &code, 1) != 1) {
        log_debug("the calling process did not wait");
    }
    close(*report_fd);
    *report_fd = -1;
}

int daemon_null_stdio(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0) {
        log_sys(LEVEL_ERROR, "failed to init stdio: open(\"/dev/null\")");
        return -1;
    }
    if (fd > STDERR_FILENO) {
        close(fd);
    }
    return 0;
}

int daemon_write_pid(const char *path)
{
    if (!path || !*path) {
        return 0;
    }
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", (int)getpid());
    unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                  S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
    if (fd < 0) {
        log_sys(LEVEL_ERROR, "Unable to create the PID file (%s).", path);
        return -1;
    }
    bool good = write(fd, text, (size_t)n) == n;
    if (!good) {
        log_sys(LEVEL_ERROR, "Unable to write to the PID file.");
    }
    close(fd);
    return good ? 0 : -1;
}

void daemon_remove_pid(const char *path)
{
    char text[16] = "";
    int fd = path && *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n > 0 && atoi(text) == (int)getpid()) {
        unlink(path);
    }
}
