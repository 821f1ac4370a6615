/* The system's log with a daemon of ours: the form of a message, a daemon that does not read, restarts, is
 * late, or takes a stream; and the server log on top of it. */
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
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/system_log.h"
#include "tests/support/log_pipe.h"

static char folder[] = "/tmp/system-log-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int daemon_fd = -1;
static char got[65536];

static void daemon_start(int type)
{
    daemon_fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(address.sun_path);
    assert_int_equal(bind(daemon_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    if (type == SOCK_STREAM) {
        assert_int_equal(listen(daemon_fd, 5), 0);
    }
}

static void daemon_stop(void)
{
    close(daemon_fd);
    unlink(address.sun_path);
}

/* One message of a datagram daemon, "" = none. */
static const char *next_message(void)
{
    ssize_t n = recv(daemon_fd, got, sizeof(got) - 1, 0);

    got[n > 0 ? n : 0] = '\0';
    return got;
}

static bool send_text(const char *text)
{
    return system_log_send(LOG_NOTICE, text, strlen(text), 0);
}

static void sends_what_syslog_sends(void **state)
{
    char pattern[256];

    (void)state;
    daemon_start(SOCK_DGRAM);
    system_log_open("name", LOG_LOCAL3, address.sun_path);
    assert_in_range(system_log_fd(), STDERR_FILENO + 1, 1000);
    assert_true(fcntl(system_log_fd(), F_GETFD) & FD_CLOEXEC);
    assert_true(send_text("a message with % and \xc3\xa4"));
    snprintf(pattern, sizeof(pattern),
             "^<157>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123][0-9] "
             "[0-9]{2}:[0-9]{2}:[0-9]{2} name\\[%d\\]: a message with %% and \xc3\xa4$",
             (int)getpid());
    assert_matches(next_message(), pattern);
    assert_true(system_log_send(LOG_DEBUG, "xyz", 1, 0));
    assert_matches(next_message(), "^<159>.*: x$");
    daemon_stop();
}

/* Until it takes no more; how many it took. */
static int fill(void)
{
    int taken = 0;

    while (send_text("fill")) {
        taken++;
    }
    assert_int_equal(errno, EAGAIN);
    return taken;
}

static void a_daemon_that_does_not_read(void **state)
{
    (void)state;
    daemon_start(SOCK_DGRAM);
    int taken = fill();
    assert_true(taken > 0);
    assert_false(system_log_send(LOG_NOTICE, "waits", 5, 20));
    assert_int_equal(errno, EAGAIN);
    for (int i = 0; i < taken; i++) {
        assert_matches(next_message(), ": fill$");
    }
    assert_string_equal(next_message(), "");
    assert_true(send_text("again"));
    assert_matches(next_message(), ": again$");
    daemon_stop();
}

static void *read_late(void *unused)
{
    usleep(30000);
    next_message();
    return unused;
}

static void a_daemon_that_is_late_is_waited_for(void **state)
{
    pthread_t thread;

    (void)state;
    daemon_start(SOCK_DGRAM);
    fill();
    assert_int_equal(pthread_create(&thread, NULL, read_late, NULL), 0);
    assert_true(system_log_send(LOG_NOTICE, "late", 4, 20000));
    pthread_join(thread, NULL);
    daemon_stop();
}

static void a_daemon_that_starts_anew(void **state)
{
    int number = system_log_fd();

    (void)state;
    daemon_start(SOCK_DGRAM);
    assert_true(send_text("to the first"));
    daemon_stop();
    assert_false(send_text("to none"));
    daemon_start(SOCK_DGRAM);
    assert_true(send_text("to the second"));
    assert_matches(next_message(), ": to the second$");
    assert_string_equal(next_message(), "");
    assert_int_equal(system_log_fd(), number);
    daemon_stop();
}

static void a_daemon_that_takes_a_stream(void **state)
{
    (void)state;
    daemon_start(SOCK_STREAM);
    assert_true(send_text("one"));
    assert_true(send_text("two"));
    int connection = accept(daemon_fd, NULL, NULL);
    ssize_t n = recv(connection, got, sizeof(got) - 1, MSG_DONTWAIT);
    assert_true(n > 0 && got[n - 1] == '\0');
    assert_matches(got, ": one$");
    assert_matches(got + strlen(got) + 1, "^<157>.*: two$");
    assert_int_equal(2 + strlen(got) + strlen(got + strlen(got) + 1), n);
    fill();
    close(connection);
    assert_true(send_text("on another connection"));
    connection = accept(daemon_fd, NULL, NULL);
    assert_true(recv(connection, got, sizeof(got) - 1, MSG_DONTWAIT) > 0);
    assert_matches(got, ": on another connection$");
    close(connection);
    daemon_stop();
}

static void a_message_that_is_too_long(void **state)
{
    size_t n = 16 << 20;
    char *text = malloc(n);

    (void)state;
    memset(text, 'x', n);
    daemon_start(SOCK_DGRAM);
    assert_false(system_log_send(LOG_NOTICE, text, n, 0));
    assert_int_equal(errno, EMSGSIZE);
    assert_true(send_text("short"));
    assert_matches(next_message(), ": short$");
    free(text);
    daemon_stop();
}

static void the_server_log_counts_what_is_lost(void **state)
{
    int taken = 0;

    (void)state;
    daemon_start(SOCK_DGRAM);
    log_set_level(LEVEL_NOTICE);
    log_to_syslog("server", LOG_DAEMON, address.sun_path);
    log_warning("hello");
    assert_matches(next_message(), "^<28>.* server\\[[0-9]+\\]: \\[WARNING\\] hello$");
    log_set_patience(0);
    for (; log_dropped() == 0; taken++) {
        log_notice("number %d", taken);
    }
    for (int i = 0; i < 41; i++) {
        log_notice("lost");
    }
    assert_int_equal(log_dropped(), 42);
    for (int i = 0; i < taken - 1; i++) {
        assert_matches(next_message(), "number [0-9]+$");
    }
    log_notice("again");
    assert_matches(next_message(), "\\[WARNING\\] the log did not take 42 lines; they were dropped$");
    assert_matches(next_message(), "\\[NOTICE\\] again$");
    log_to_fd(STDERR_FILENO);
    log_set_patience(LOG_PATIENCE_ENDLESS);
    daemon_stop();
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_what_syslog_sends),
        cmocka_unit_test(a_daemon_that_does_not_read),
        cmocka_unit_test(a_daemon_that_is_late_is_waited_for),
        cmocka_unit_test(a_daemon_that_starts_anew),
        cmocka_unit_test(a_daemon_that_takes_a_stream),
        cmocka_unit_test(a_message_that_is_too_long),
        cmocka_unit_test(the_server_log_counts_what_is_lost),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
