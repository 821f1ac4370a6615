/* Asks for a profile, waits for it, writes it in the format that is wanted. See the header. */
#include "engine/supervise/ctl_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/carried.h"
#include "engine/base/clock.h"
#include "engine/base/profile_format.h"
#include "engine/engine.h"
#include "engine/supervise/supervisor.h"

#define PROFILE_BYTES (256u << 20)
#define BEYOND_US     (20 * CLOCK_US_PER_SECOND) /* its own time */

int ctl_unanswered(const char *path, bool waited)
{
    fprintf(stderr,
            "tokiophp ctl: %s at %s (it is stopped, very busy, or no tokiophp); -s SOCKET or -y FILE names "
            "another\n",
            waited ? "nobody answers in time" : "the connection ended without an answer", path);
    return EXIT_SOFTWARE;
}

/* The first answer: a line, and a pipe if it is a good one; -1: it said why not, or nothing (reported). */
static int receive_pipe(int fd, const char *path)
{
    char line[512];
    union carried room;
    struct iovec part = {line, sizeof(line) - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int fds[CARRIED_MAX], found = -1;
    ssize_t n;
    carried_expect(&message, &room);
    do {
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n > 0 && carried_take(&message, fds) > 0) {
        found = fds[0];
    } else if (n > 0) {
        fprintf(stderr, "%.*s", (int)n, line);
    } else {
        ctl_unanswered(path, n < 0 && errno == EAGAIN);
    }
    return found;
}

static int write_all(const char *path, const struct buf *text)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : STDOUT_FILENO;
    for (size_t done = 0; fd >= 0 && done < text->n;) {
        ssize_t n = write(fd, text->p + done, text->n - done);
        if (n <= 0 && errno != EINTR) {
            fd = -1;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0 || (path && close(fd) != 0)) {
        fprintf(stderr, "tokiophp ctl: %s: %s\n", path ? path : "stdout", strerror(errno));
        return EXIT_SOFTWARE;
    }
    return EXIT_OK;
}

/* All that comes until its end. False: too much came, or not all of it in time. */
static bool gather(int pipe_fd, unsigned seconds, struct buf *folded)
{
    uint64_t now, until_us = clock_us() + seconds * CLOCK_US_PER_SECOND + BEYOND_US;
    char piece[65536];
    while ((now = clock_us()) < until_us && !folded->failed) {
        struct pollfd p = {.fd = pipe_fd, .events = POLLIN};
        if (poll(&p, 1, (int)((until_us - now) / 1000) + 1) <= 0) {
            continue;
        }
        ssize_t n = read(pipe_fd, piece, sizeof(piece));
        if (n == 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            break;
        }
        buf_add(folded, piece, n > 0 ? (size_t)n : 0);
    }
    if (!folded->failed) {
        fprintf(stderr, "tokiophp ctl: not all processes have said everything in time\n");
    }
    return false;
}

int ctl_profile(int fd, const char *path, const struct ctl_profile *asked)
{
    enum profile_format format;
    struct buf folded = {.limit = PROFILE_BYTES}, out = {0};
    if (!profile_format_named(asked->format, &format)) {
        fprintf(stderr, "tokiophp ctl: --format %s: expected folded, speedscope or pprof\n", asked->format);
        return EXIT_USAGE;
    }
    const char *pool = asked->pool ? asked->pool : "";
    if ((asked->last ? dprintf(fd, "profile %s last %s\n", asked->last, pool)
                     : dprintf(fd, "profile %s %s %s\n", asked->seconds, asked->hz, pool)) < 0) {
        return ctl_unanswered(path, errno == EAGAIN);
    }
    int pipe_fd = receive_pipe(fd, path);
    if (pipe_fd < 0) {
        return EXIT_SOFTWARE;
    }
    unsigned hz = asked->last ? PROFILE_KEPT_HZ : (unsigned)atoi(asked->hz);
    bool whole = gather(pipe_fd, asked->last ? 0 : (unsigned)atoi(asked->seconds), &folded);
    close(pipe_fd);
    out.failed = folded.failed;
    if (!out.failed) {
        profile_write((struct str){folded.p, folded.n}, format, hz, &out);
    }
    if (out.failed) {
        fprintf(stderr, "tokiophp ctl: the profile is too large\n");
    }
    int code = out.failed ? EXIT_SOFTWARE : write_all(asked->output, &out);
    if (code == EXIT_OK && !whole) {
        code = EXIT_SOFTWARE;
    } else if (code == EXIT_OK && folded.n == 0) {
        fprintf(stderr, "tokiophp ctl: no worker ran a script in that time\n");
    }
    buf_free(&folded);
    buf_free(&out);
    return code;
}
