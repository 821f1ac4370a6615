/* The pipes of an engine process and of its workers: how much of them is read at once, and whose turn it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/supervise/state.h"

#define WORKERS    100
#define NOISE      60000
#define TURN_BYTES (256u << 10) /* of workers' pipes: less than a turn may take */

static struct child child;
static int ends[WORKERS];
static int log_null;

static int set_up(void **state)
{
    static char noise[NOISE];
    (void)state;
    log_null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_to_fd(log_null);
    memset(noise, 'n', sizeof(noise));
    for (size_t i = 0; i < sizeof(noise); i += 100) {
        noise[i] = '\n';
    }
    memset(&child, 0, sizeof(child));
    child.output = output_sources_create("www", 42, false);
    for (int i = 0; i < WORKERS; i++) {
        int fds[2];
        if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0 || write(fds[1], noise, sizeof(noise)) < 0) {
            return -1;
        }
        talker_add(&child, OUTPUT_STDERR, i + 1, fds[0]);
        ends[i] = fds[1];
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    talkers_end(&child);
    output_sources_destroy(child.output);
    for (int i = 0; i < WORKERS; i++) {
        close(ends[i]);
    }
    log_to_fd(STDERR_FILENO);
    close(log_null);
    return 0;
}

static size_t waiting(void)
{
    size_t sum = 0;
    for (const struct talker *t = child.talkers; t; t = t->next) {
        int n = 0;
        assert_int_equal(ioctl(t->fd, FIONREAD, &n), 0);
        sum += (size_t)n;
    }
    return sum;
}

/* As the loop does: those that were there when the turn began. */
static void turn(void)
{
    struct talker *all[WORKERS];
    int n = 0;
    for (struct talker *t = child.talkers; t; t = t->next) {
        all[n++] = t;
    }
    talkers_begin_turn(&child);
    for (int i = 0; i < n; i++) {
        talker_read(all[i]);
    }
}

static void a_turn_is_bounded_for_all_together(void **state)
{
    (void)state;
    size_t before = waiting();
    assert_int_equal(before, (size_t)WORKERS * NOISE);
    turn();
    assert_true(waiting() < before);
    assert_true(before - waiting() <= TURN_BYTES);
}

/* Whoever talks without a pause does not keep the others from being heard. */
static void everyone_has_a_turn(void **state)
{
    (void)state;
    for (int i = 0; i < WORKERS; i++) {
        static const char more[16000];
        turn();
        for (int k = 0; k < 8; k++) {
            assert_true(write(ends[k], more, sizeof(more)) != 0);
        }
    }
    for (const struct talker *t = child.talkers; t; t = t->next) {
        int n = 0;
        assert_int_equal(ioctl(t->fd, FIONREAD, &n), 0);
        assert_true(t->worker <= 8 || n < NOISE);
    }
}

static void all_is_read_when_there_is_time(void **state)
{
    (void)state;
    for (int i = 0; i < WORKERS * NOISE / 4096 && waiting() > 0; i++) {
        turn();
    }
    assert_int_equal(waiting(), 0);
}

static void the_end_is_bounded(void **state)
{
    int dup_of[WORKERS], n = 0;
    size_t left = 0;
    (void)state;
    for (const struct talker *t = child.talkers; t; t = t->next) {
        dup_of[n++] = dup(t->fd);
    }
    talkers_end(&child);
    for (int i = 0; i < n; i++) {
        int bytes = 0;
        assert_int_equal(ioctl(dup_of[i], FIONREAD, &bytes), 0);
        left += (size_t)bytes;
        close(dup_of[i]);
    }
    assert_in_range((size_t)WORKERS * NOISE - left, NOISE, 2u << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_turn_is_bounded_for_all_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(everyone_has_a_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_is_read_when_there_is_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_is_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
