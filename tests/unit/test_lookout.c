/* The lookout: both ends in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/supervise/lookout.h"

#define QUESTIONS 500

static unsigned unread(int fd)
{
    char packet[256];
    unsigned count = 0;
    while (recv(fd, packet, sizeof(packet), MSG_DONTWAIT) > 0) {
        count++;
    }
    return count;
}

static bool has_more(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* Each answer may hold a file, which the kernel keeps for as long as nobody takes it. */
static void test_who_never_reads(void **state)
{
    const struct lookout_question question = {.number = 1};
    int ends[2];
    (void)state;
    assert_int_equal(lookout_pair(ends), 0);
    for (int i = 0; i < QUESTIONS; i++) {
        lookout_answer(ends[0], &question, 1, ends[1]);
    }
    assert_in_range(unread(ends[1]), 1, 16);
    lookout_answer(ends[0], &question, 1, -1);
    assert_int_equal(unread(ends[1]), 1);
    close(ends[0]);
    close(ends[1]);
}

/* Whoever sends it without end keeps nobody. */
static void test_nonsense_is_read_in_pieces(void **state)
{
    struct lookout_question question;
    int ends[2], heard = 0, calls = 0;
    (void)state;
    assert_int_equal(lookout_pair(ends), 0);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(send(ends[1], "nonsense", 8, 0), 8);
    }
    for (; has_more(ends[0]); calls++) {
        heard += lookout_hear(ends[0], &question);
    }
    assert_int_equal(heard, 0);
    assert_in_range(calls, 3, 200);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_who_never_reads),
                                       cmocka_unit_test(test_nonsense_is_read_in_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
