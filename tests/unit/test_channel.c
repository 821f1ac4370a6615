/* The channel: both ends in one process, and packets that no honest peer would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/supervise/channel.h"

static int ends[2];
static struct channel_message message;

static int set_up(void **state)
{
    (void)state;
    memset(&message, 0, sizeof(message));
    return channel_pair(ends);
}

static int tear_down(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static int open_count(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static void assert_same_file(int a, int b)
{
    struct stat x, y;
    assert_int_equal(fstat(a, &x), 0);
    assert_int_equal(fstat(b, &y), 0);
    assert_true(x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static void messages_arrive_whole_and_in_order(void **state)
{
    (void)state;
    assert_int_equal(channel_receive(ends[0], &message, NULL), 0);
    assert_int_equal(channel_send(ends[1], CHANNEL_READY, 0, NULL, NULL, 0), 0);
    assert_int_equal(channel_send(ends[1], CHANNEL_SWAP, -5, "because", NULL, 0), 0);
    assert_int_equal(channel_send(ends[1], CHANNEL_FAILED, INT64_MAX, "", NULL, 0), 0);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_int_equal(message.type, CHANNEL_READY);
    assert_int_equal(message.text_n, 0);
    assert_string_equal(message.text, "");
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_int_equal(message.type, CHANNEL_SWAP);
    assert_int_equal(message.number, -5);
    assert_string_equal(message.text, "because");
    assert_int_equal(message.text_n, 7);
    assert_int_equal(message.fd_count, 0);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_true(message.number == INT64_MAX);
    assert_string_equal(message.text, "");
    assert_int_equal(channel_receive(ends[0], &message, NULL), 0);
}

static void ends_are_private(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_true(fcntl(ends[i], F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(ends[i], F_GETFL) & O_NONBLOCK);
    }
}

static void long_text_is_cut(void **state)
{
    char *text = malloc(CHANNEL_TEXT_MAX * 2);
    (void)state;
    memset(text, 'x', CHANNEL_TEXT_MAX * 2);
    text[CHANNEL_TEXT_MAX * 2 - 1] = '\0';
    assert_int_equal(channel_send(ends[1], CHANNEL_CRASH, 11, text, NULL, 0), 0);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_int_equal(message.text_n, CHANNEL_TEXT_MAX - 1);
    assert_int_equal(strlen(message.text), CHANNEL_TEXT_MAX - 1);
    free(text);
}

static void descriptors_come_along(void **state)
{
    int fds[CHANNEL_FDS_MAX], before;
    (void)state;
    for (int i = 0; i < CHANNEL_FDS_MAX; i++) {
        fds[i] = open(i % 2 ? "/" : "/dev/null", O_RDONLY);
        assert_true(fds[i] >= 0);
    }
    before = open_count();
    assert_int_equal(channel_send(ends[1], CHANNEL_HAND_OVER, 7, "text", fds, CHANNEL_FDS_MAX), 0);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_int_equal(message.fd_count, CHANNEL_FDS_MAX);
    for (int i = 0; i < CHANNEL_FDS_MAX; i++) {
        assert_same_file(fds[i], message.fds[i]);
        assert_true(fcntl(message.fds[i], F_GETFD) & FD_CLOEXEC);
    }
    channel_close_fds(&message);
    assert_int_equal(message.fd_count, 0);
    assert_int_equal(open_count(), before);
    errno = 0;
    assert_int_equal(channel_send(ends[1], CHANNEL_HAND_OVER, 7, "text", fds, CHANNEL_FDS_MAX + 1), -1);
    assert_int_equal(errno, EINVAL);
    for (int i = 0; i < CHANNEL_FDS_MAX; i++) {
        close(fds[i]);
    }
}

static void closed_peer_is_told(void **state)
{
    (void)state;
    assert_int_equal(channel_send(ends[1], CHANNEL_DRAINING, 0, NULL, NULL, 0), 0);
    close(ends[1]);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1); /* last words first */
    assert_int_equal(message.type, CHANNEL_DRAINING);
    assert_int_equal(channel_receive(ends[0], &message, NULL), -1);
    assert_int_equal(channel_send(ends[0], CHANNEL_DRAIN, 1, NULL, NULL, 0), -1); /* and no SIGPIPE */
    ends[1] = dup(ends[0]);
}

/* Nobody waits for a reader; what was accepted arrives, and afterwards there is room again. */
static void full_socket_says_no(void **state)
{
    int sent = 0, got = 0;
    (void)state;
    while (sent < 100000 && channel_send(ends[1], CHANNEL_SWAP, sent, "more", NULL, 0) == 0) {
        sent++;
    }
    assert_in_range(sent, 1, 99999);
    assert_int_equal(errno, EAGAIN);
    while (channel_receive(ends[0], &message, NULL) == 1) {
        assert_int_equal(message.number, got);
        got++;
    }
    assert_int_equal(got, sent);
    assert_int_equal(channel_send(ends[1], CHANNEL_SWAP, 0, "more", NULL, 0), 0);
}

/* -- packets from a process that somebody has taken over -- */

struct packet {
    uint32_t magic, type;
    int64_t number;
    char text[CHANNEL_TEXT_MAX * 2];
};

static struct packet packet;

static void make_good(void)
{
    int peer[2];
    struct channel_message m;
    memset(&packet, 0, sizeof(packet));
    assert_int_equal(channel_pair(peer), 0);
    assert_int_equal(channel_send(peer[0], CHANNEL_SWAP, 1, "good", NULL, 0), 0);
    assert_int_equal(recv(peer[1], &packet, sizeof(packet), 0), 16 + 4);
    assert_int_equal(send(peer[1], &packet, 16 + 4, 0), 16 + 4);
    assert_int_equal(channel_receive(peer[0], &m, NULL), 1); /* so this is how a packet looks */
    close(peer[0]);
    close(peer[1]);
}

static void send_packet(size_t n)
{
    assert_int_equal(send(ends[1], &packet, n, 0), n);
}

static void assert_only_the_good_one(void)
{
    make_good();
    send_packet(16 + 4);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_string_equal(message.text, "good");
    assert_int_equal(channel_receive(ends[0], &message, NULL), 0);
}

static void nonsense_is_skipped(void **state)
{
    (void)state;
    for (size_t n = 1; n < 16; n++) { /* cut heads */
        make_good();
        send_packet(n);
    }
    make_good();
    packet.magic ^= 1;
    send_packet(16 + 4);
    static const uint32_t types[] = {0, 31, 1000, 0x80000001u, UINT32_MAX};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        make_good();
        packet.type = types[i];
        send_packet(16 + 4);
    }
    make_good();
    memset(packet.text, 'x', sizeof(packet.text));
    send_packet(16 + CHANNEL_TEXT_MAX); /* one byte more than fits */
    send_packet(sizeof(packet));
    assert_only_the_good_one();
}

/* Whoever sends it without end keeps nobody. */
static void nonsense_is_read_in_pieces(void **state)
{
    int calls = 1;
    (void)state;
    for (int i = 0; i < 200; i++) {
        make_good();
        packet.magic = 0;
        send_packet(16 + 4);
    }
    make_good();
    send_packet(16 + 4);
    while (channel_receive(ends[0], &message, NULL) == 0) {
        calls++;
        assert_in_range(calls, 1, 200);
    }
    assert_in_range(calls, 3, 200);
}

static void text_needs_no_end(void **state)
{
    (void)state;
    make_good();
    memset(packet.text, 'x', sizeof(packet.text));
    send_packet(16 + CHANNEL_TEXT_MAX - 1);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_int_equal(strlen(message.text), CHANNEL_TEXT_MAX - 1);
}

/* As many descriptors as a packet can carry, and descriptors beside nonsense: none stays open. */
static void send_with_descriptors(size_t n, int count)
{
    union carried room;
    int fds[CARRIED_MAX];
    struct iovec part = {&packet, n};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    for (int i = 0; i < count; i++) {
        fds[i] = ends[1];
    }
    carried_put(&m, &room, fds, (size_t)count);
    assert_int_equal(sendmsg(ends[1], &m, 0), n);
}

static int disposed;

static void dispose(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        disposed++;
        close(fds[i]);
    }
}

static void no_descriptor_is_left(void **state)
{
    int before = open_count();
    (void)state;
    make_good();
    send_with_descriptors(16 + 4, CHANNEL_FDS_MAX);
    assert_int_equal(channel_receive(ends[0], &message, NULL), 1);
    assert_int_equal(message.fd_count, CHANNEL_FDS_MAX);
    channel_close_fds(&message);
    packet.magic = 0;
    send_with_descriptors(16 + 4, 2);
    assert_int_equal(channel_receive(ends[0], &message, dispose), 0);
    assert_int_equal(disposed, 2);
    send_with_descriptors(16 + 4, 3);
    send_with_descriptors(3, 3);
    send_with_descriptors(sizeof(packet), 3);
    assert_only_the_good_one();
    channel_close_fds(&message);
    send_with_descriptors(0, 3); /* looks like the end */
    assert_int_equal(channel_receive(ends[0], &message, dispose), -1);
    assert_int_equal(disposed, 5);
    assert_int_equal(open_count(), before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive_whole_and_in_order),
        TEST(ends_are_private),
        TEST(long_text_is_cut),
        TEST(descriptors_come_along),
        TEST(closed_peer_is_told),
        TEST(full_socket_says_no),
        TEST(nonsense_is_skipped),
        TEST(nonsense_is_read_in_pieces),
        TEST(text_needs_no_end),
        TEST(no_descriptor_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
