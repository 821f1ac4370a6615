/* The server log, written to a pipe and read back: the form of lines, cutting, levels, the tap, the limiter.
 */
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
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tests/support/log_pipe.h"

static int set_up(void **state)
{
    (void)state;
    log_set_timestamps(true);
    return log_pipe_open();
}

static int tear_down(void **state)
{
    (void)state;
    log_pipe_close();
    return 0;
}

#define TIME "^\\[[0-9]{2}-[A-Z][a-z]{2}-[0-9]{4} [0-9:]{8}"

static void writes_lines_like_php_fpm(void **state)
{
    (void)state;
    log_notice("fpm is running, pid %d", 7);
    assert_matches(log_pipe_read(), TIME "\\] NOTICE: fpm is running, pid 7\n$");
    log_alert("x");
    assert_matches(log_pipe_read(), TIME "\\] ALERT: x\n$");
    log_debug("not at this level");
    assert_string_equal(log_pipe_read(), "");
    log_set_level(LEVEL_DEBUG);
    log_debug("now");
    assert_matches(log_pipe_read(),
                   TIME "\\.[0-9]{6}\\] DEBUG: pid [0-9]+, writes_lines_like_php_fpm\\(\\), line "
                        "[0-9]+: now\n$");
    log_set_timestamps(false);
    log_set_level(LEVEL_WARNING);
    log_warning("in a worker process");
    assert_string_equal(log_pipe_read(), "WARNING: in a worker process\n");
    log_notice("quiet");
    assert_string_equal(log_pipe_read(), "");
}

static void cuts_at_the_limit(void **state)
{
    (void)state;
    log_set_timestamps(false);
    for (int limit = 512; limit <= 9000; limit += 2122) {
        log_set_limit((size_t)limit);
        log_notice("%*s", limit - 9, "x"); /* "NOTICE: " and the newline just fit */
        assert_int_equal(strlen(log_pipe_read()), limit);
        assert_int_equal(log_text[limit - 2], 'x');
        log_notice("%*s", limit * 2, "x");
        assert_int_equal(strlen(log_pipe_read()), limit);
        assert_string_equal(log_text + limit - 4, "...\n");
    }
}

static char tapped[4096];

static void tap(enum log_level level, const char *message, size_t n)
{
    snprintf(tapped, sizeof tapped, "%d:%.*s", (int)level, (int)n, message);
    log_notice("from the tap"); /* must not come back */
}

static void taps_messages_of_any_level(void **state)
{
    (void)state;
    log_set_timestamps(false);
    log_tap = tap;
    log_debug("secret %d", 1);
    assert_string_equal(tapped, "1:secret 1");
    assert_string_equal(log_pipe_read(), "NOTICE: from the tap\n");
    log_set_limit(512);
    log_notice("%2000s", "x");
    assert_int_equal(strlen(tapped), 2 + 512 - strlen("NOTICE: ") - 1);
    assert_string_equal(tapped + strlen(tapped) - 3, "...");
    log_tap = NULL;
}

static void writes_json(void **state)
{
    (void)state;
    log_set_format(LOG_JSON, "shop");
    log_warning("a \"quoted\"\nthing");
    assert_matches(log_pipe_read(),
                   "^\\{\"ts\":\"[0-9T:.-]+Z\",\"level\":\"warn\",\"type\":\"server\",\"msg\":\"a "
                   "\\\\\"quoted\\\\\"\\\\nthing\",\"ctx\":\\{\"service\":\"shop\",\"pid\":[0-9]+"
                   "\\}\\}\n$");
}

static void keeps_errno_and_names_it(void **state)
{
    (void)state;
    log_set_timestamps(false);
    errno = ENOENT;
    log_sys(LEVEL_ERROR, "cannot open %s", "x");
    assert_int_equal(errno, ENOENT);
    assert_string_equal(log_pipe_read(), "ERROR: cannot open x: No such file or directory (2)\n");
}

static void limits_what_a_peer_can_cause(void **state)
{
    struct log_limiter limiter = {0};
    int allowed = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        allowed += log_limiter_allows(&limiter, 10);
    }
    assert_int_equal(allowed, 10);
    assert_int_equal(limiter.dropped, 90);
    limiter.window_start_us = 0; /* long ago */
    assert_true(log_limiter_allows(&limiter, 10));
    assert_non_null(strstr(log_pipe_read(), "90 more lines"));
}

static void *shout(void *unused)
{
    for (int i = 0; i < 200; i++) {
        log_notice("%s", "abcdefghijklmnopqrstuvwxyz");
    }
    return unused;
}

static void does_not_mix_threads(void **state)
{
    pthread_t threads[4];

    (void)state;
    log_set_timestamps(false);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shout, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    int lines = 0;
    const char *expected = "NOTICE: abcdefghijklmnopqrstuvwxyz\n";
    for (const char *p = log_pipe_read(); *p; p += strlen(expected)) {
        assert_memory_equal(p, expected, strlen(expected));
        lines++;
    }
    assert_int_equal(lines, 800);
}

/* A pipe that blocks, as a shell's is, and nobody reads. */
static int fill_blocking_pipe(int kind)
{
    fcntl(log_pipe[1], F_SETFL, 0);
    if (kind > 0) { /* a socket, as systemd's journal is */
        close(log_pipe[0]);
        close(log_pipe[1]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, log_pipe), 0);
        fcntl(log_pipe[0], F_SETFL, O_NONBLOCK);
        log_to_fd(log_pipe[1]);
    }
    int lines = 0;
    uint64_t before = log_dropped();
    while (log_dropped() == before) {
        log_notice("line %d", lines++);
        assert_true(lines < 1000000);
    }
    return lines - 1;
}

static void read_all(char *out, size_t size)
{
    size_t n = 0;
    ssize_t got_now;

    while ((got_now = read(log_pipe[0], out + n, size - 1 - n)) > 0) {
        n += (size_t)got_now;
    }
    out[n] = '\0';
}

static void never_waits_for_a_reader(void **state)
{
    static char all[4 << 20];
    char expected[64];

    (void)state;
    log_set_timestamps(false);
    for (int kind = 0; kind < 2; kind++) {
        log_set_patience(0);
        int fit = fill_blocking_pipe(kind);
        for (int i = 0; i < 41; i++) {
            log_notice("lost");
        }
        assert_int_equal(log_dropped(), 42);
        read_all(all, sizeof all);
        snprintf(expected, sizeof expected, "\nNOTICE: line %d\n", fit - 1);
        assert_string_equal(all + strlen(all) - strlen(expected), expected);
        log_notice("again");
        log_notice("and again");
        read_all(all, sizeof all);
        assert_string_equal(all, "WARNING: the log did not take 42 lines; they were dropped\n"
                                 "NOTICE: again\nNOTICE: and again\n");
        assert_int_equal(log_dropped(), 42);
    }
    log_set_patience(LOG_PATIENCE_ENDLESS);
}

/* A reader that is late gets everything; one that is stuck is waited for once. */
static void *read_late(void *unused)
{
    struct pollfd room = {.fd = log_pipe[1], .events = POLLOUT};

    while (poll(&room, 1, 0) > 0) { /* whoever writes is not there yet */
        usleep(1000);
    }
    usleep(50000);
    log_pipe_read();
    return unused;
}

static void waits_a_while(void **state)
{
    pthread_t thread;

    (void)state;
    log_set_timestamps(false);
    log_set_patience(0);
    fill_blocking_pipe(0);
    log_pipe_read(); /* 64 KiB: there is room again */
    log_set_patience(20000);
    assert_int_equal(pthread_create(&thread, NULL, read_late, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        log_notice("%s", "abcdefghijklmnopqrstuvwxyz");
    }
    pthread_join(thread, NULL);
    assert_int_equal(log_dropped(), 0);
    log_set_patience(200);
    uint64_t began = clock_us();
    for (int i = 0; i < 5000; i++) {
        log_notice("%s", "abcdefghijklmnopqrstuvwxyz");
    }
    assert_true(log_dropped() > 1000);
    assert_in_range(clock_us() - began, 200000, 100000000); /* 1000 times would be 200 s */
    log_set_patience(LOG_PATIENCE_ENDLESS);
}

/* Longer than what a pipe takes whole: what is left of it log_pipe with its own newline. */
static void a_torn_line_ends(void **state)
{
    static char all[1 << 20];

    (void)state;
    log_set_timestamps(false);
    log_set_limit(9000);
    log_set_patience(0);
    fcntl(log_pipe[1], F_SETFL, 0);
    while (log_dropped() == 0) {
        log_notice("%8000s", "x");
    }
    read_all(all, sizeof all);
    bool torn = all[strlen(all) - 1] != '\n';
    log_notice("again");
    read_all(all, sizeof all);
    assert_string_equal(all + (torn ? 1 : 0), "WARNING: the log did not take 1 lines; they were dropped\n"
                                              "NOTICE: again\n");
    assert_int_equal(all[0], torn ? '\n' : 'W');
    log_set_patience(LOG_PATIENCE_ENDLESS);
}

static void a_crowd_at_a_full_pipe_is_counted(void **state)
{
    static char all[1 << 20];
    pthread_t threads[4];

    (void)state;
    log_set_timestamps(false);
    log_set_patience(0);
    int fit = fill_blocking_pipe(0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, shout, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    read_all(all, sizeof all);
    int there = 0;
    for (const char *p = all; (p = strchr(p, '\n')); p++) {
        there++;
    }
    assert_int_equal((uint64_t)there + log_dropped(), (uint64_t)fit + 1 + 800);
    log_set_patience(LOG_PATIENCE_ENDLESS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_lines_like_php_fpm),
        TEST(cuts_at_the_limit),
        TEST(taps_messages_of_any_level),
        TEST(writes_json),
        TEST(keeps_errno_and_names_it),
        TEST(limits_what_a_peer_can_cause),
        TEST(does_not_mix_threads),
        TEST(never_waits_for_a_reader),
        TEST(waits_a_while),
        TEST(a_torn_line_ends),
        TEST(a_crowd_at_a_full_pipe_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
