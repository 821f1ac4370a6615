/* What engine processes sent is closed, whatever it is, and nobody waits for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/carried.h"
#include "engine/base/clock.h"
#include "engine/supervise/closer.h"

#define SOON_US  (CLOCK_US_PER_SECOND / 2)
#define LIMIT_US (20 * CLOCK_US_PER_SECOND)

static int peer;

/* Its last close(2) waits for a peer that does not read. */
static int lingering_socket(void)
{
    static char text[65536];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
    peer = accept(listener, NULL, NULL);
    while (send(fd, text, sizeof(text), MSG_DONTWAIT) > 0) {
    }
    struct linger linger = {1, 3600};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(listener);
    return fd;
}

/* What the supervisor's loop does. */
static void turn(void)
{
    pid_t pid;
    closer_tick(clock_us());
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        assert_true(closer_reaped(pid));
    }
    poll(NULL, 0, 5);
}

static bool is_at_its_end(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

static void wait_for_end(int fd)
{
    uint64_t until = clock_us() + LIMIT_US;
    while (!is_at_its_end(fd)) {
        assert_true(clock_us() < until);
        turn();
    }
}

/* None of the processes is left. */
static int tear_down(void **state)
{
    uint64_t until = clock_us() + LIMIT_US;
    (void)state;
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) >= 0 || errno != ECHILD;) {
        closer_reaped(pid);
        if (clock_us() > until) {
            return -1;
        }
        closer_tick(clock_us());
        poll(NULL, 0, 5);
    }
    closer_finish();
    close(peer);
    return 0;
}

static void test_behind_one_that_lingers(void **state)
{
    int ends[2];
    uint64_t began = clock_us();
    (void)state;
    assert_int_equal(pipe(ends), 0);
    closer_drop(lingering_socket());
    closer_drop(ends[1]);
    assert_true(clock_us() < began + SOON_US);
    wait_for_end(ends[0]);
    close(ends[0]);
}

static void test_many(void **state)
{
    int ends[2], lingers = lingering_socket(), top = -1;
    uint64_t began = clock_us();
    (void)state;
    closer_drop(lingers);
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 3000; i++) {
        int fd = dup(ends[1]);
        top = fd > top ? fd : top;
        closer_drop(fd);
        if (i % 100 == 0) {
            turn();
        }
    }
    assert_true(clock_us() < began + LIMIT_US);
    assert_in_range(top, 0, 64);
    close(ends[1]);
    wait_for_end(ends[0]);
    close(ends[0]);
}

/* Who is about to be killed has to get a processor first. */
static void test_many_on_one_processor(void **state)
{
    cpu_set_t all, one;
    int ends[2];
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}); /* root may */
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 5000; i++) {
        closer_drop(dup(ends[1]));
    }
    sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
    close(ends[1]);
    wait_for_end(ends[0]);
    close(ends[0]);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

static void send_descriptor(int to, const char *text, size_t n, int fd)
{
    union carried room;
    struct iovec part = {(void *)(uintptr_t)text, n};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    carried_put(&message, &room, &fd, 1);
    assert_int_equal(sendmsg(to, &message, 0), n);
}

static void test_what_is_unread_in_a_socket(void **state)
{
    int pair[2], ends[2], lingers = lingering_socket();
    uint64_t began = clock_us();
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(pipe(ends), 0);
    send_descriptor(pair[1], "", 0, lingers);
    send_descriptor(pair[1], "text", 4, ends[1]);
    close(lingers);
    close(ends[1]);
    closer_end_socket(&pair[0]);
    assert_int_equal(pair[0], -1);
    assert_true(clock_us() < began + SOON_US);
    assert_int_equal(send(pair[1], "more", 4, MSG_NOSIGNAL), -1);
    wait_for_end(ends[0]);
    close(pair[1]);
    close(ends[0]);
}

/* Nothing that could be waited for: no process starts for that. */
static void test_what_needs_none(void **state)
{
    int pair[2], memory = memfd_create("list", 0), pipe_ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(pipe(pipe_ends), 0);
    assert_true(closer_is_memory(memory));
    assert_false(closer_is_memory(pipe_ends[0]));
    closer_drop(-1);
    closer_drop(memory);
    closer_end_socket(&pair[0]);
    assert_int_equal(closer_next_us(), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(fcntl(memory, F_GETFD), -1);
    close(pair[1]);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {TEST(test_behind_one_that_lingers), TEST(test_many),
                                       TEST(test_many_on_one_processor),
                                       TEST(test_what_is_unread_in_a_socket), TEST(test_what_needs_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
