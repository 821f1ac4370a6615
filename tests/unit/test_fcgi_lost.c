/* A worker that is lost in the FastCGI front end, where no request of its has begun: its connection has an
 * end, and a drain need not wait for it. The sanitizers catch the crash before the engine could: their builds
 * only check that the program links. */
#include <fastcgi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/work/crash.h"
#include "fcgi/fcgi.h"
#include "tests/support/fcgi_bytes.h"
#include "tests/support/fcgi_pool.h"

static char path[64];
static struct fcgi_pool *the_pool;
static char **harmless;

/* From now on whoever takes a request in crashes. */
static void poison(void)
{
    crash_install(); /* cmocka has its own for each test */
    fcgi_pool_front(the_pool)->policy.extensions = (char **)(uintptr_t)16;
}

static int start(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/tklost%d", (int)getpid());
    the_pool = fcgi_pool_start(path, 2, NULL);
    harmless = fcgi_pool_front(the_pool)->policy.extensions;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fcgi_pool_front(the_pool)->policy.extensions = harmless;
    return fcgi_pool_stop(the_pool, 10) ? 0 : -1;
}

static void add_request(struct buf *b, const char *query)
{
    struct buf params = {0};

    fcgi_add_pair(&params, "REQUEST_METHOD", "GET");
    fcgi_add_pair(&params, "SCRIPT_FILENAME", "/bin/sh");
    fcgi_add_pair(&params, "SCRIPT_NAME", "/sh");
    fcgi_add_pair(&params, "QUERY_STRING", query);
    fcgi_add_record(b, FCGI_BEGIN_REQUEST, "\0\1\1\0\0\0\0\0", 8); /* kept */
    fcgi_add_record(b, FCGI_PARAMS, params.p, params.n);
    fcgi_add_record(b, FCGI_PARAMS, "", 0);
    fcgi_add_record(b, FCGI_STDIN, "", 0);
    buf_free(&params);
}

static int connected(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    return fd;
}

static void send_all(int fd, struct buf *b)
{
    assert_int_equal(write(fd, b->p, b->n), b->n);
    buf_free(b);
}

/* All that comes until the connection ends, and it does. */
static void read_to_the_end(int fd, struct buf *out)
{
    char piece[4096];
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        buf_add(out, piece, (size_t)n);
    }
    assert_int_equal(n, 0);
    close(fd);
}

static void nobody_is_counted(void)
{
    for (int i = 0; i < 1000 && fcgi_pool_open_connections(the_pool) > 0; i++) {
        usleep(10000);
    }
    assert_int_equal(fcgi_pool_open_connections(the_pool), 0);
}

static void in_the_first_request(void **state)
{
    struct buf b = {0}, out = {0};
    int fd = connected();

    (void)state;
    poison();
    add_request(&b, "");
    send_all(fd, &b);
    read_to_the_end(fd, &out);
    assert_int_equal(out.n, 0);
    buf_free(&out);
    nobody_is_counted();
}

/* The next one lies in the worker's buffer already. */
static void between_two_requests(void **state)
{
    struct buf b = {0}, out = {0};
    char head[8];
    int fd = connected();

    (void)state;
    add_request(&b, "flush&later=1000");
    add_request(&b, "");
    send_all(fd, &b);
    assert_int_equal(recv(fd, head, sizeof(head), MSG_WAITALL), sizeof(head)); /* it runs */
    poison();
    read_to_the_end(fd, &out);
    assert_non_null(memmem(out.p, out.n, "hello\n", 6));
    buf_free(&out);
    nobody_is_counted();
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static void left_to_the_sanitizer(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_the_first_request, start, stop),
        cmocka_unit_test_setup_teardown(between_two_requests, start, stop),
    };
    const struct CMUnitTest none[] = {cmocka_unit_test(left_to_the_sanitizer)};

    return sanitized ? cmocka_run_group_tests(none, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
