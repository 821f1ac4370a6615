/* What the supervisor says to an engine process that does not listen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/state.h"

#define ROUNDS 600 /* as many seconds, were each waited for: longer than a test may take */

/* It makes room for one message each time, so that it seems to listen. */
static void whoever_listens_a_little_is_not_waited_for_again_and_again(void **state)
{
    static struct channel_message message;
    struct member member = {0};
    struct child child = {.member = &member};
    int ends[2], refused = 0, taken = 0;
    uint64_t began = clock_us();

    (void)state;
    assert_int_equal(channel_pair(ends), 0);
    child.channel = ends[0];
    while (channel_send(ends[0], CHANNEL_ASK, 0, NULL, NULL, 0) == 0) {
    }
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(channel_receive(ends[1], &message, NULL), 1);
        taken += child_send(&child, CHANNEL_ASK, 0, NULL, NULL, 0) == 0;
        refused += child_send(&child, CHANNEL_ASK, 0, NULL, NULL, 0) != 0;
    }
    assert_int_equal(taken, ROUNDS);
    assert_int_equal(refused, ROUNDS);
    assert_in_range(clock_us() - began, 0, 3 * CLOCK_US_PER_SECOND);
    channel_receive(ends[1], &message, NULL);
    assert_int_equal(child_send(&child, CHANNEL_ASK, 0, NULL, NULL, 0), 0);
    child_close_fd(&ends[0]);
    child_close_fd(&ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_listens_a_little_is_not_waited_for_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
