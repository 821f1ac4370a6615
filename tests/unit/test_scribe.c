/* The threads that append to log files: nothing is lost or mixed, and the process has no file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/supervise/scribe.h"

#define WAIT_US (20 * CLOCK_US_PER_SECOND)

static char path[] = "/tmp/scribe-XXXXXX";

static int open_file(void)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static size_t file_size(void)
{
    struct stat st;
    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

static void wait_size(size_t size)
{
    uint64_t until = clock_us() + WAIT_US;
    while (file_size() < size && clock_us() < until) {
        usleep(1000);
    }
    assert_int_equal(file_size(), size);
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    while (write(fd, text, n) < 0 && errno == EAGAIN) {
        usleep(1000);
    }
}

static int set_up(void **state)
{
    (void)state;
    strcpy(path, "/tmp/scribe-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 || close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void appends_what_comes(void **state)
{
    int fds[2], file = open_file();
    (void)state;
    assert_int_equal(scribe_pipe(fds), 0);
    struct scribe *scribe = scribe_start(fds[0], file);
    assert_non_null(scribe);
    say(fds[1], "one\n");
    wait_size(4);
    say(fds[1], "two\nthr");
    wait_size(11); /* what has no end yet, too */
    close(fds[1]);
    scribe_leave(scribe);
    scribes_finish(20000);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    assert_int_equal(file_size(), 11);
    close(file);
}

static void a_process_cannot_shorten_it(void **state)
{
    int fds[2], file = open_file();
    (void)state;
    assert_int_equal(scribe_pipe(fds), 0);
    struct scribe *scribe = scribe_start(fds[0], file);
    say(fds[1], "one\n");
    wait_size(4);
    assert_int_equal(ftruncate(fds[1], 0), -1);
    assert_int_equal(lseek(fds[1], 0, SEEK_SET), -1);
    assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0); /* a pipe that waits: its own affair */
    say(fds[1], "two\n");
    wait_size(8);
    close(fds[1]);
    scribe_leave(scribe);
    scribes_finish(20000);
    close(file);
}

static void lines_of_two_processes_stay_whole(void **state)
{
    enum { LINES = 4000 };
    int fds[2][2], file = open_file();
    struct scribe *scribes[2];
    char line[300];
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(scribe_pipe(fds[i]), 0);
        scribes[i] = scribe_start(fds[i][0], file);
        assert_non_null(scribes[i]);
    }
    for (int i = 0; i < LINES; i++) {
        memset(line, 'a' + i % 2, sizeof(line));
        strcpy(line + 40 + i % 250, "\n");
        say(fds[i % 2][1], line);
    }
    for (int i = 0; i < 2; i++) {
        close(fds[i][1]);
        scribe_leave(scribes[i]);
    }
    scribes_finish(20000);
    close(file);
    FILE *in = fopen(path, "r");
    int count = 0;
    while (fgets(line, sizeof(line), in)) {
        size_t n = strlen(line) - 1;
        assert_true(n >= 40 && strspn(line, line[0] == 'a' ? "a" : "b") == n);
        count++;
    }
    fclose(in);
    assert_int_equal(count, LINES);
}

static void goes_on_in_another_file(void **state)
{
    int fds[2], file = open_file();
    (void)state;
    assert_int_equal(scribe_pipe(fds), 0);
    struct scribe *scribe = scribe_start(fds[0], file);
    say(fds[1], "old\n");
    wait_size(4);
    assert_int_equal(unlink(path), 0);
    int fresh = open_file();
    assert_int_equal(dup3(fresh, file, O_CLOEXEC), file);
    close(fresh);
    say(fds[1], "and new\n");
    wait_size(8);
    close(fds[1]);
    scribe_leave(scribe);
    scribes_finish(20000);
    close(file);
}

static void holds_nothing_while_it_rests(void **state)
{
    int fds[2], file = open_file();
    (void)state;
    assert_int_equal(scribe_pipe(fds), 0);
    struct scribe *scribe = scribe_start(fds[0], file);
    scribes_rest(20000);
    say(fds[1], "one\n");
    usleep(50000);
    assert_int_equal(file_size(), 0); /* it is still in the pipe, for the next image */
    scribes_go_on();
    wait_size(4);
    close(fds[1]);
    scribe_leave(scribe);
    scribes_finish(20000);
    close(file);
}

static void counts_what_a_file_does_not_take(void **state)
{
    int fds[2], file = open("/dev/full", O_WRONLY | O_CLOEXEC);
    uint64_t before = scribes_lost();
    (void)state;
    assert_int_equal(scribe_pipe(fds), 0);
    struct scribe *scribe = scribe_start(fds[0], file);
    say(fds[1], "one\ntwo\n");
    close(fds[1]);
    scribe_leave(scribe);
    scribes_finish(20000);
    assert_int_equal(scribes_lost() - before, 2);
    close(file);
}

static void waits_for_no_reader_for_ever(void **state)
{
    int fds[2], log[2];
    char text[32];
    (void)state;
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    fcntl(log[1], F_SETPIPE_SZ, 4096);
    assert_int_equal(scribe_pipe(fds), 0);
    struct scribe *scribe = scribe_start(fds[0], log[1]);
    for (int i = 0; i < 2000; i++) {
        say(fds[1], "line\n");
    }
    close(fds[1]);
    scribe_leave(scribe);
    scribes_finish(50); /* it is stuck, we are not */
    scribes_rest(50);
    scribes_go_on();
    size_t seen = 0;
    while (seen < 2000 * 5) {
        ssize_t n = read(log[0], text, sizeof(text));
        assert_true(n > 0);
        seen += (size_t)n;
    }
    scribes_finish(20000);
    close(log[0]);
    close(log[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(appends_what_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_cannot_shorten_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_of_two_processes_stay_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on_in_another_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holds_nothing_while_it_rests, set_up, tear_down),
        cmocka_unit_test(counts_what_a_file_does_not_take),
        cmocka_unit_test(waits_for_no_reader_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
