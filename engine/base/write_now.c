/* Writing without waiting, whatever the descriptor's own flags are: O_NONBLOCK belongs to the open file,
 * which we may share with a shell or a container's manager, so it is asked for call by call.
 *
 * Any thread. A file system is waited for; a reader is not. Where the kernel cannot write to a pipe that way
 * (before Linux 6.4) a look with poll() goes ahead: a piece of PIPE_BUF bytes then has room, unless another
 * process takes that room in between. */
#include "engine/base/write_now.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t after_a_look(int fd, const char *p, size_t n)
{
    struct pollfd look = {.fd = fd, .events = POLLOUT};

    if (poll(&look, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, p, n < PIPE_BUF ? n : PIPE_BUF);
}

static ssize_t write_some(int fd, mode_t mode, const char *p, size_t n)
{
    if (S_ISREG(mode)) {
        return write(fd, p, n);
    }
    if (S_ISSOCK(mode)) {
        return send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    const struct iovec piece = {(void *)(uintptr_t)p, n};
    ssize_t done = pwritev2(fd, &piece, 1, -1, RWF_NOWAIT);

    if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        return after_a_look(fd, p, n);
    }
    return done;
}

static size_t write_pieces(int fd, mode_t mode, const char *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        ssize_t done = write_some(fd, mode, p + at, n - at);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            break;
        }
        at += (size_t)done;
    }
    return at;
}

size_t write_now(int fd, const char *p, size_t n)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? 0 : write_pieces(fd, st.st_mode, p, n);
}

size_t write_waiting(int fd, const char *p, size_t n)
{
    return write_pieces(fd, S_IFREG, p, n); /* as if it were a file: that is waited for */
}
