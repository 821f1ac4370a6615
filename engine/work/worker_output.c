/* A worker's own stdout and stderr: pipes that its programs inherit instead of the process's, so that the
 * supervisor knows whose they are and mixes no worker's lines with another's. The supervisor makes one when a
 * worker first starts a program that wants it; from then on the worker's frames travel in it, too, which
 * keeps them in the order in which they were written. Worker's thread, but for what is said of the table. */
#include "engine/work/worker_output.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/frame.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

#define PIPES_MAX    4096 /* of a process; who comes later has the process's */
#define PIPES_FROM   512  /* low numbers are left to files and connections: select() knows no others */
#define ASK_AGAIN_US (10 * CLOCK_US_PER_SECOND)

/* All that are open, each as its number + 1; 0 = free. Taken and given back by exchange, on any thread, also
 * in a signal's handler: a child of fork() closes what is in it. */
static _Atomic int pipes[PIPES_MAX];
static _Thread_local uint64_t ask_at_us; /* not before this, after a refusal */

static bool note(int fd)
{
    for (size_t i = 0; i < PIPES_MAX; i++) {
        int none = 0;

        if (atomic_compare_exchange_strong(&pipes[i], &none, fd + 1)) {
            return true;
        }
    }
    return false;
}

static void forget(int fd)
{
    for (size_t i = 0; i < PIPES_MAX; i++) {
        int number = fd + 1;

        if (atomic_compare_exchange_strong(&pipes[i], &number, 0)) {
            return;
        }
    }
}

static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, PIPES_FROM);

    if (high >= 0) {
        close(fd);
    }
    return high >= 0 ? high : fd;
}

bool worker_output_own(const struct worker *w, int stream_fd)
{
    if (!log_workers_are_read() || frame_own(stream_fd) >= 0) {
        return frame_own(stream_fd) >= 0;
    }
    int (*ask)(int, int32_t) = w->pool->server.talker;
    int fd = ask && clock_us() >= ask_at_us ? ask(stream_fd, w->tid) : -1;

    if (fd < 0) {
        ask_at_us = clock_us() >= ask_at_us ? clock_us() + ASK_AGAIN_US : ask_at_us;
        return false;
    }
    fd = move_up(fd);
    if (!note(fd)) {
        close(fd);
        return false;
    }
    frame_set_own(stream_fd, fd);
    return true;
}

/* The stream of the process whose pipe this is; -1 = none. */
static int stream_named(const char *path)
{
    struct stat named, own;
    bool may_be = strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;

    if (!may_be || stat(path, &named) != 0 || !S_ISFIFO(named.st_mode)) {
        return -1;
    }
    for (int stream_fd = STDOUT_FILENO; stream_fd <= STDERR_FILENO; stream_fd++) {
        if (fstat(stream_fd, &own) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino) {
            return stream_fd;
        }
    }
    return -1;
}

const char *worker_output_path(const struct worker *w, const char *path, char out[WORKER_OUTPUT_PATH])
{
    int stream_fd = log_workers_are_read() ? stream_named(path) : -1;

    if (stream_fd < 0 || !worker_output_own(w, stream_fd)) {
        return path;
    }
    snprintf(out, WORKER_OUTPUT_PATH, "/proc/self/fd/%d", frame_own(stream_fd));
    frame_begin(stream_fd);
    return out;
}

void worker_output_close(void)
{
    for (int stream_fd = STDOUT_FILENO; stream_fd <= STDERR_FILENO; stream_fd++) {
        int fd = frame_own(stream_fd);

        if (fd >= 0) {
            frame_set_own(stream_fd, -1);
            forget(fd);
            close(fd);
        }
    }
}

void worker_output_in_child(void)
{
    for (int stream_fd = STDOUT_FILENO; stream_fd <= STDERR_FILENO; stream_fd++) {
        if (frame_own(stream_fd) >= 0) {
            dup2(frame_own(stream_fd), stream_fd);
        }
    }
    worker_output_close();
    for (size_t i = 0; i < PIPES_MAX; i++) {
        int number = atomic_exchange(&pipes[i], 0);

        if (number > 0) {
            close(number - 1);
        }
    }
}
