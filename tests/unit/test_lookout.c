/* The lookout: both ends in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_who_never_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
