/* Asks for a profile, waits for it, writes it in the format that is wanted. See the header. */
#include "engine/supervise/ctl_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/profile_format.h"
#include "engine/engine.h"
#include "engine/supervise/supervisor.h"

#define PROFILE_BYTES (256u << 20)

/* The first answer: a line, and a pipe if it is a good one; -1: it said why not. */
static int receive_pipe(int fd)
{
    char line[512];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {line, sizeof(line) - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    ssize_t n;
    do {
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    int found = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        memcpy(&found, CMSG_DATA(c), sizeof(found));
    } else {
        fprintf(stderr, "%.*s", n > 0 ? (int)n : 0, line);
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

int ctl_profile(int fd, const struct ctl_profile *asked)
{
    enum profile_format format;
    struct buf folded = {.limit = PROFILE_BYTES}, out = {0};
    char piece[65536];
    ssize_t n;
    if (!profile_format_named(asked->format, &format)) {
        fprintf(stderr, "tokiophp ctl: --format %s: expected folded, speedscope or pprof\n", asked->format);
        return EXIT_USAGE;
    }
    if (dprintf(fd, "profile %s %s %s\n", asked->seconds, asked->hz, asked->pool ? asked->pool : "") < 0) {
        return EXIT_SOFTWARE;
    }
    int pipe_fd = receive_pipe(fd);
    if (pipe_fd < 0) {
        return EXIT_SOFTWARE;
    }
    while ((n = read(pipe_fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR)) {
        buf_add(&folded, piece, n > 0 ? (size_t)n : 0);
    }
    close(pipe_fd);
    profile_write((struct str){folded.p, folded.n}, format, (unsigned)atoi(asked->hz), &out);
    int code = out.failed || folded.failed ? EXIT_SOFTWARE : write_all(asked->output, &out);
    if (code == EXIT_OK && folded.n == 0) {
        fprintf(stderr, "tokiophp ctl: no worker ran a script in that time\n");
    }
    buf_free(&folded);
    buf_free(&out);
    return code;
}
