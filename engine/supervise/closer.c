/* The process that closes what others sent. See the header.
 *
 * It gets descriptors as we did, in a packet, or, the first ones, by its birth, and keeps them until we have
 * closed ours and say so by the next packet: so ours are never the last ones. One that does not keep up for
 * a moment, or is not done in a second, is killed, and another one starts when there is something to do: a
 * process that ends waits for no socket, and what has waited behind it is closed as well. Where even that
 * takes for ever, as in a file system of the sender's, a few may hang; then a descriptor stays open, which
 * costs a number, but not our time.
 *
 * It lives for as long as there is something to do. It holds what we held at the fork, and an execution of
 * ours lets it go. */
#include "engine/supervise/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/carried.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/proc_file.h"
#include "engine/supervise/descriptors.h"
#include "engine/supervise/title.h"

#define IDLE_MS     50
#define LIFE_US     CLOCK_US_PER_SECOND
#define PATIENCE_MS 50 /* in a life */
#define HANGS_MAX   8
#define MEMORY_MOST (16 << 20) /* more than a list has */

struct list {
    int fds[CARRIED_MAX];
    size_t count;
};

static int to_closer = -1; /* -1: there is none */
static pid_t closer;
static uint64_t born_us;
static int patience_ms;
static pid_t killed[HANGS_MAX]; /* and not seen to end; 0 = free */

static void close_list(struct list *list)
{
    while (list->count > 0) {
        close(list->fds[--list->count]);
    }
}

/* -- the process -- */

/* What a packet brings is closed when the next one comes. False: there is no more to come. */
static bool serve(int source, struct list *held)
{
    char byte;
    struct iovec part = {&byte, 1};
    union carried room;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct pollfd news = {.fd = source, .events = POLLIN};
    if (poll(&news, 1, held->count > 0 ? -1 : IDLE_MS) == 0) {
        return false;
    }
    carried_expect(&message, &room);
    ssize_t n = recvmsg(source, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    close_list(held);
    held->count = carried_take(&message, held->fds);
    return true;
}

static _Noreturn void closer_main(int source, struct list *held)
{
    struct keep_list keep = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    title_set(NULL, "closes what processes sent");
    keep_add(&keep, source);
    for (size_t i = 0; i < held->count; i++) {
        keep_add(&keep, held->fds[i]);
    }
    keep_only(&keep);
    while (serve(source, held)) {
    }
    _exit(0);
}

/* -- the supervisor's thread -- */

static bool start(struct list *first)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        closer_main(ends[1], first);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return false;
    }
    to_closer = ends[0];
    closer = pid;
    born_us = clock_us();
    patience_ms = PATIENCE_MS;
    return true;
}

static bool pass(const struct list *list)
{
    char byte = 0;
    struct iovec part = {&byte, 1};
    union carried room;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;
    carried_put(&message, &room, list->fds, list->count);
    do {
        sent = sendmsg(to_closer, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent == 1;
}

/* One that does not keep up may only have got no processor: many that are killed for that would not end any
 * sooner. False: it does not come, or ended. */
static bool wait_for_room(void)
{
    struct pollfd room = {.fd = to_closer, .events = POLLOUT};
    uint64_t since = clock_us();
    bool found = patience_ms > 0 && poll(&room, 1, patience_ms) > 0;
    patience_ms -= (int)((clock_us() - since) / 1000) + 1;
    return found;
}

static bool pass_in_time(const struct list *list)
{
    bool passed = pass(list);
    while (!passed && errno == EAGAIN && wait_for_room()) {
        passed = pass(list);
    }
    return passed;
}

static size_t place_for_killed(void)
{
    size_t i = 0;
    while (i < HANGS_MAX && killed[i] != 0 && waitpid(killed[i], NULL, WNOHANG) == 0) {
        i++;
    }
    return i;
}

/* False: too many of those before have not ended yet. */
static bool end_closer(void)
{
    size_t i = to_closer >= 0 ? place_for_killed() : 0;
    if (i == HANGS_MAX) {
        return false;
    }
    if (to_closer >= 0) {
        kill(closer, SIGKILL);
        killed[i] = closer;
        close(to_closer);
        to_closer = -1;
    }
    return true;
}

bool closer_is_memory(int fd)
{
    struct stat st;
    return fcntl(fd, F_GET_SEALS) >= 0 && fstat(fd, &st) == 0 && st.st_blocks <= MEMORY_MOST / 512;
}

/* It may close them as soon as we have. */
static void let_go(struct list *list)
{
    close_list(list);
    pass(list);
}

static void drop_list(struct list *list)
{
    if (list->count == 0) {
        return;
    }
    if ((to_closer >= 0 && pass_in_time(list)) || (end_closer() && start(list))) {
        let_go(list);
    } else {
        log_limited(LEVEL_ERROR, "engine processes send descriptors that cannot be closed");
    }
}

void closer_drop_all(const int *fds, size_t count)
{
    struct list list = {.count = 0};
    for (size_t i = 0; i < count; i++) {
        if (closer_is_memory(fds[i])) {
            close(fds[i]);
        } else {
            list.fds[list.count++] = fds[i];
        }
        if (list.count == CARRIED_MAX || i + 1 == count) {
            drop_list(&list);
            list.count = 0;
        }
    }
}

void closer_drop(int fd)
{
    closer_drop_all(&fd, fd >= 0 ? 1 : 0);
}

void closer_drop_carried(struct msghdr *message)
{
    int fds[CARRIED_MAX];
    closer_drop_all(fds, carried_take(message, fds));
}

uint64_t closer_next_us(void)
{
    return to_closer >= 0 ? born_us + LIFE_US : 0;
}

void closer_tick(uint64_t now)
{
    if (to_closer >= 0 && now >= closer_next_us() && !end_closer()) {
        born_us = now; /* too many hang: later again */
    }
}

bool closer_reaped(pid_t pid)
{
    if (to_closer >= 0 && pid == closer) {
        close(to_closer);
        to_closer = -1;
        return true;
    }
    for (size_t i = 0; i < HANGS_MAX; i++) {
        if (killed[i] == pid) {
            killed[i] = 0;
            return true;
        }
    }
    return false;
}

/* The kernel says how many descriptors wait in it. */
static bool is_empty(int fd)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    return proc_file_read(path, text, sizeof(text)) && strstr(text, "\nscm_fds: 0\n");
}

void closer_end_socket(int *fd)
{
    if (*fd >= 0) {
        shutdown(*fd, SHUT_RDWR); /* from here on nothing more comes */
        if (is_empty(*fd)) {
            close(*fd);
        } else {
            closer_drop(*fd);
        }
        *fd = -1;
    }
}

void closer_finish(void)
{
    if (to_closer >= 0) {
        kill(closer, SIGKILL);
    }
}
