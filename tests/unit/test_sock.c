/* Sockets: addresses as people write them, listening (stale files, modes, occupied ports), accepting. */
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
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/sock.h"

static char directory[] = "/tmp/sock-XXXXXX";
static char error[512];
static const struct sock_options plain = {
    .backlog = -1, .owner = (uid_t)-1, .group = (gid_t)-1, .mode = 0660};

static int set_up(void **state)
{
    (void)state;
    log_set_level(LEVEL_ALERT);
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(directory); /* every test removed its files */
}

static void parses(void **state)
{
    static const struct {
        const char *text, *key;
        int family;
    } good[] = {
        {"127.0.0.1:9000", "127.0.0.1:9000", AF_INET},
        {"[::1]:9000", "::1:9000", AF_INET6},
        {"9000", ":::9000", AF_INET6},
        {"*:80", ":::80", AF_INET6},
        {"/run/x.sock", "/run/x.sock", AF_UNIX},
        {"relative.sock", "relative.sock", AF_UNIX},
    };
    struct sock_address a;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(sock_parse(good[i].text, &a, error, sizeof error), 0);
        assert_string_equal(a.text, good[i].key);
        assert_string_equal(a.given, good[i].text);
        assert_int_equal(a.sa.ss_family, good[i].family);
        assert_int_equal(a.is_unix, good[i].family == AF_UNIX);
    }
    assert_int_equal(sock_parse("9000", &a, error, sizeof error), 0);
    assert_true(a.any_family);
    sock_use_ipv4(&a);
    assert_string_equal(a.text, "0.0.0.0:9000");
}

static void refuses(void **state)
{
    static const char *const bad[] = {"127.0.0.1:69002",
                                      "127.0.0.1:0",
                                      "127.0.0.1:",
                                      "127.0.0.1:80x",
                                      "0",
                                      "99999",
                                      "",
                                      "[::zz]:80",

                                      "[]:80"};
    struct sock_address a;
    char longer[400];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error[0] = '\0';
        assert_int_equal(sock_parse(bad[i], &a, error, sizeof error), -1);
        assert_true(error[0]);
    }
    assert_int_equal(sock_parse("127.0.0.1:69002", &a, error, sizeof error), -1);
    assert_string_equal(error, "invalid port value '69002'");
    memset(longer, 'a', sizeof longer);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(sock_parse(longer, &a, error, sizeof error), -1);
    longer[200] = '\0';
    assert_int_equal(sock_parse(longer, &a, error, sizeof error), 0); /* cut, see sock.h */
    assert_int_equal(strlen(a.text), SOCK_PATH_MAX);
}

static void listens_on_unix_sockets(void **state)
{
    struct sock_address a;
    struct sockaddr_storage peer;
    struct stat st;
    char path[64], ip[64];
    int fd;

    (void)state;
    snprintf(path, sizeof path, "%s/s", directory);
    assert_int_equal(sock_parse(path, &a, error, sizeof error), 0);
    int first = sock_listen(&a, &plain, error, sizeof error);
    assert_true(first >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);
    assert_int_equal(sock_accept(first, true, &fd, &peer), ACCEPT_EMPTY);

    assert_int_equal(sock_listen(&a, &plain, error, sizeof error), -1);
    assert_non_null(strstr(error, "Another FPM instance seems to already listen on "));
    close(first); /* the file stays: stale */
    int second = sock_listen(&a, &plain, error, sizeof error);
    assert_true(second >= 0);

    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&a.sa, a.len), 0);
    assert_int_equal(sock_accept(second, true, &fd, &peer), ACCEPT_OK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    sock_ip(&peer, ip, sizeof ip);
    assert_string_equal(ip, "-");
    assert_int_equal(sock_port(&peer), 0);
    close(client);
    close(fd);
    close(second);
    unlink(path);
}

static void spares_files_that_are_no_sockets(void **state)
{
    struct sock_address a;
    char path[64];

    (void)state;
    snprintf(path, sizeof path, "%s/f", directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(sock_parse(path, &a, error, sizeof error), 0);
    assert_int_equal(sock_listen(&a, &plain, error, sizeof error), -1);
    assert_non_null(strstr(error, "unable to bind listening socket for address '"));
    assert_int_equal(unlink(path), 0);
}

static void reports_an_occupied_port(void **state)
{
    struct sock_address a;
    struct sockaddr_in bound;
    socklen_t n = sizeof bound;
    char text[64], expected[256];

    (void)state;
    int busy = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bound = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(busy, (struct sockaddr *)&bound, sizeof bound), 0);
    assert_int_equal(listen(busy, 1), 0);
    assert_int_equal(getsockname(busy, (struct sockaddr *)&bound, &n), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(bound.sin_port));
    assert_int_equal(sock_parse(text, &a, error, sizeof error), 0);
    assert_int_equal(sock_listen(&a, &plain, error, sizeof error), -1);
    snprintf(expected, sizeof expected,
             "unable to bind listening socket for address '%s': Address already in use (98)", text);
    assert_string_equal(error, expected);
    close(busy);
}

static void accepts_and_names_peers(void **state)
{
    struct sock_address a;
    struct sockaddr_storage peer = {0}, name;
    socklen_t n = sizeof name;
    char ip[64];
    int fd;

    (void)state;
    assert_int_equal(sock_parse("127.0.0.1:1", &a, error, sizeof error), 0);
    ((struct sockaddr_in *)&a.sa)->sin_port = 0; /* any free one */
    int listener = sock_listen(&a, &plain, error, sizeof error);
    assert_true(listener >= 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &n), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&name, n), 0);
    assert_int_equal(sock_accept(listener, false, &fd, &peer), ACCEPT_OK);
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    sock_ip(&peer, ip, sizeof ip);
    assert_string_equal(ip, "127.0.0.1");
    assert_true(sock_port(&peer) > 0);
    close(fd);
    close(client);
    close(listener);
    assert_int_equal(sock_accept(-1, false, &fd, &peer), ACCEPT_BROKEN);

    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6,
                                  .sin6_addr = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3}}}};
    memcpy(&peer, &mapped, sizeof mapped);
    sock_ip(&peer, ip, sizeof ip);
    assert_string_equal(ip, "10.1.2.3");
}

/* One client waits in the queue; nobody gets in behind it. */
static void check_refusal(const char *text)
{
    struct sock_address a;
    struct sockaddr_storage peer, bound = {0};
    socklen_t n = sizeof bound;
    int fd;

    assert_int_equal(sock_parse(text, &a, error, sizeof error), 0);
    if (((struct sockaddr *)&a.sa)->sa_family == AF_INET) {
        ((struct sockaddr_in *)&a.sa)->sin_port = 0; /* any free one */
    }
    int listener = sock_listen(&a, &plain, error, sizeof error);
    assert_true(listener >= 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&bound, &n), 0);
    int early = socket(bound.ss_family, SOCK_STREAM, 0);
    int late = socket(bound.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(early, (struct sockaddr *)&bound, n), 0);

    sock_refuse(listener);
    assert_int_equal(connect(late, (struct sockaddr *)&bound, n), -1);
    assert_int_equal(errno, bound.ss_family == AF_UNIX ? ECONNREFUSED : EINPROGRESS);
    assert_int_equal(sock_accept(listener, true, &fd, &peer), ACCEPT_OK);
    assert_int_equal(write(early, "x", 1), 1);
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    assert_int_equal(sock_accept(listener, true, &fd, &peer), ACCEPT_EMPTY);
    close(late);
    close(early);
    close(listener);
}

static void refuses_who_comes_late(void **state)
{
    char path[64];

    (void)state;
    snprintf(path, sizeof path, "%s/r", directory);
    check_refusal(path);
    unlink(path);
    check_refusal("127.0.0.1:1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(listens_on_unix_sockets),
        cmocka_unit_test(spares_files_that_are_no_sockets),
        cmocka_unit_test(reports_an_occupied_port),
        cmocka_unit_test(accepts_and_names_peers),
        cmocka_unit_test(refuses_who_comes_late),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
