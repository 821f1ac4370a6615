/* Whatever a web server sends, a connection to a real pool ends or waits, and the next one is served. The
 * bytes go in and our side is shut down, so that nothing waits for more. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/must.h"
#include "tests/support/fcgi_pool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int connected(void)
{
    static struct sockaddr_un a = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!a.sun_path[0]) { /* the first call: the pool lives until the process ends */
        snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/tkfuzz%d", (int)getpid());
        fcgi_pool_start(a.sun_path, 2, NULL);
    }
    MUST(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

/* Everything that comes until the end; its length. */
static size_t drain(int fd)
{
    char waste[65536];
    size_t sum = 0;
    ssize_t n;

    while ((n = recv(fd, waste, sizeof(waste), 0)) > 0) {
        sum += (size_t)n;
        MUST(sum < 64u << 20);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char values[] = "\1\x09\0\0\0\x11\0\0\x0f\0FCGI_MPXS_CONNS";
    char answer[26] = "";
    int fd = connected();
    int other = connected();
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

    (void)sent; /* it may have been closed in the middle */
    shutdown(fd, SHUT_WR);
    drain(fd);
    close(fd);
    MUST(send(other, values, sizeof(values) - 1, MSG_NOSIGNAL) == sizeof(values) - 1);
    MUST(recv(other, answer, sizeof(answer), MSG_WAITALL) == sizeof(answer) && answer[1] == 10);
    close(other);
    return 0;
}
