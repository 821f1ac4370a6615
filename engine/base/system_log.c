/* syslog(3) writes with a blocking socket, so a daemon that does not read stops whoever logs. This sends the
 * same bytes and never waits longer than it is told.
 *
 * One socket for the life of the process, whose number never changes: a new connection takes the place of the
 * old one (dup3), so threads need no lock, and one that crashes in here holds nobody up. Children inherit it,
 * and with it reach the daemon from a chroot. A daemon takes datagrams or, rarely, a stream, in which a NUL
 * ends each message. */
#include "engine/base/system_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define PREFIX_MAX 160

/* Set before other threads exist. */
static int own_fd = -1;
static int facility;
static char ident[64];
static struct sockaddr_un daemon_address = {.sun_family = AF_UNIX};

static _Atomic bool is_stream;

static int connected(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&daemon_address, sizeof(daemon_address)) < 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        fd = -1;
    }
    return fd;
}

static bool connect_anew(void)
{
    int fd = connected(SOCK_DGRAM);
    bool stream = fd < 0 && errno == EPROTOTYPE;

    if (stream) {
        fd = connected(SOCK_STREAM);
    }
    if (fd < 0) {
        return false;
    }
    is_stream = stream;
    bool done = dup3(fd, own_fd, O_CLOEXEC) >= 0;

    close(fd);
    return done;
}

/* Not one of the three that are replaced by and by. */
static int high_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || fd > STDERR_FILENO) {
        return fd;
    }
    int high = high_socket();

    close(fd);
    return high;
}

void system_log_open(const char *name, int number, const char *path)
{
    snprintf(ident, sizeof(ident), "%s", name);
    facility = number;
    snprintf(daemon_address.sun_path, sizeof(daemon_address.sun_path), "%s", path);
    if (own_fd < 0) {
        own_fd = high_socket();
    }
    connect_anew();
}

int system_log_fd(void)
{
    return own_fd;
}

/* "<30>Jan  1 00:00:00 tokiophp[1]: ". The names of months are English whatever a script's locale is. */
static size_t make_prefix(char out[PREFIX_MAX], const struct system_log_sender *sender, int priority)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm t;

    localtime_r(&now, &t);
    char pid[16] = "";
    if (sender->with_pid) {
        snprintf(pid, sizeof pid, "[%d]", (int)getpid());
    }
    int n = snprintf(out, PREFIX_MAX, "<%d>%.3s %2d %02d:%02d:%02d %.100s%s: ", sender->facility | priority,
                     months + 3 * t.tm_mon, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, sender->name, pid);

    return n < PREFIX_MAX ? (size_t)n : PREFIX_MAX - 1;
}

/* All of it or nothing: a stream that took a part gets a new connection. */
static bool send_now(struct iovec *parts, size_t count, size_t size)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t done;

    do {
        done = sendmsg(own_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (done < 0 && errno == EINTR);
    if (done >= 0 && (size_t)done < size) {
        connect_anew();
        errno = EMSGSIZE;
        return false;
    }
    return done >= 0;
}

static bool is_busy(int error)
{
    return error == EAGAIN || error == ENOBUFS;
}

bool system_log_send(int priority, const char *text, size_t n, int wait_ms)
{
    const struct system_log_sender sender = {.name = ident, .facility = facility, .with_pid = true};

    return system_log_send_as(&sender, priority, text, n, wait_ms);
}

bool system_log_send_as(const struct system_log_sender *sender, int priority, const char *text, size_t n,
                        int wait_ms)
{
    char prefix[PREFIX_MAX];
    size_t prefix_n = make_prefix(prefix, sender, priority);
    struct iovec parts[] = {{prefix, prefix_n}, {(void *)(uintptr_t)text, n}, {(void *)(uintptr_t) "", 1}};
    struct pollfd look = {.fd = own_fd, .events = POLLOUT};
    bool waited = false, renewed = false;

    for (;;) {
        bool stream = is_stream;

        if (send_now(parts, stream ? 3 : 2, prefix_n + n + stream)) {
            return true;
        }
        if (is_busy(errno)) {
            if (waited || poll(&look, 1, wait_ms) <= 0) {
                errno = EAGAIN;
                return false;
            }
            waited = true;
        } else if (errno == EMSGSIZE || renewed || !connect_anew()) {
            return false;
        } else {
            renewed = true;
        }
    }
}
