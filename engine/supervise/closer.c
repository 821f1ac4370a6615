/* The thread that closes what others sent. See the header.
 *
 * It does nothing but read(2) and close(2): it holds no lock when the supervisor forks, and an execution ends
 * it. Should it be stuck, what comes after waits in the pipe; a full pipe costs the descriptor, not the
 * supervisor's time. */
#include "engine/supervise/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/thread.h"

static int to_close[2] = {-1, -1}; /* read end: the thread's */

static void *closer_main(void *arg)
{
    int fd;
    (void)arg;
    for (;;) {
        ssize_t n = read(to_close[0], &fd, sizeof(fd));
        if (n == (ssize_t)sizeof(fd)) {
            close(fd);
        } else if (n >= 0 || errno != EINTR) {
            return NULL;
        }
    }
}

static bool start(void)
{
    static bool failed;
    pthread_t thread;
    if (to_close[1] >= 0 || failed) {
        return !failed;
    }
    failed = pipe2(to_close, O_CLOEXEC) != 0 || fcntl(to_close[1], F_SETFL, O_NONBLOCK) != 0 ||
             thread_start(&thread, closer_main, NULL) != 0 || pthread_detach(thread) != 0;
    if (failed) {
        log_sys(LEVEL_ERROR, "no thread to close what engine processes send");
    }
    return !failed;
}

void closer_drop(int fd)
{
    if (fd < 0) {
        return;
    }
    if (!start()) {
        close(fd);
    } else if (write(to_close[1], &fd, sizeof(fd)) != (ssize_t)sizeof(fd)) {
        log_limited(LEVEL_ERROR, "engine processes send descriptors that cannot be closed");
    }
}

void closer_drop_carried(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
                           ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int)
                           : 0;
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            closer_drop(fd);
        }
    }
}
