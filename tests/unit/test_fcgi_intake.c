/* From FastCGI variables to a request, through a real connection to a pool without PHP. */
#include <fastcgi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fcgi/exchange.h"
#include "tests/support/fcgi_bytes.h"
#include "tests/support/fcgi_pool.h"

static char path[64];
static struct fcgi_pool *the_pool;

static void lengths(void **state)
{
    static const struct {
        const char *text;
        int64_t length;
    } cases[] = {
        {NULL, -1},
        {"", -1},
        {"0", 0},
        {"10", 10},
        {"-1", -1},
        {"+5", -1},
        {" 5", -1},
        {"5 ", -1},
        {"0x10", -1},
        {"1e3", -1},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", INT64_MAX},
        {"99999999999999999999999999", INT64_MAX},
        {"-99999999999999999999", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(intake_length(cases[i].text) == cases[i].length);
    }
}

static int connected(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

/* The answer to these variables: all that comes until the connection ends. */
static void answer(struct buf *params, struct buf *out)
{
    struct buf b = {0};
    char piece[4096];
    ssize_t n;
    int fd = connected();

    fcgi_add_record(&b, FCGI_BEGIN_REQUEST, "\0\1\0\0\0\0\0\0", 8);
    fcgi_add_record(&b, FCGI_PARAMS, params->p, params->n);
    fcgi_add_record(&b, FCGI_PARAMS, "", 0);
    fcgi_add_record(&b, FCGI_STDIN, "", 0);
    assert_int_equal(write(fd, b.p, b.n), b.n);
    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        buf_add(out, piece, (size_t)n);
    }
    assert_true(out->n > 16);
    close(fd);
    buf_free(&b);
    buf_free(params);
}

static bool has(const struct buf *b, const char *text)
{
    return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static void variables(void **state)
{
    struct buf params = {0}, out = {0};

    (void)state;
    fcgi_add_pair(&params, "REQUEST_METHOD", "GET");
    fcgi_add_pair(&params, "SCRIPT_FILENAME", "/bin/sh");
    fcgi_add_pair(&params, "SCRIPT_NAME", "/sh");
    fcgi_add_pair(&params, "QUERY_STRING", "params");
    fcgi_add_pair(&params, "HTTP_PROXY", "http://evil/");
    fcgi_add_pair(&params, "TWICE", "first");
    fcgi_add_pair(&params, "EQUALS", "a=b=c");
    fcgi_add_pair(&params, "EMPTY", "");
    fcgi_add_pair(&params, "", "nameless");
    fcgi_add_pair(&params, "TWICE", "second");
    answer(&params, &out);
    assert_true(has(&out, "\nEQUALS=a=b=c\n") && has(&out, "\nEMPTY=\n") &&
                has(&out, "FCGI_ROLE=RESPONDER\n"));
    assert_true(has(&out, "\nTWICE=second\n"));
    assert_false(has(&out, "HTTP_PROXY") || has(&out, "nameless"));
    buf_free(&out);
}

static void without_method_or_script(void **state)
{
    struct buf params = {0}, out = {0};

    (void)state;
    fcgi_add_pair(&params, "SCRIPT_FILENAME", "/bin/sh");
    answer(&params, &out);
    assert_false(has(&out, "Status:"));
    buf_free(&out);
    fcgi_add_pair(&params, "REQUEST_METHOD", "GET");
    answer(&params, &out);
    assert_true(has(&out, "Status: 404 Not Found\r\n") && has(&out, "File not found.\n"));
    buf_free(&out);
}

static int start(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/tkintake%d", (int)getpid());
    the_pool = fcgi_pool_start(path, 2, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    return fcgi_pool_stop(the_pool, 10) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),
        cmocka_unit_test(variables),
        cmocka_unit_test(without_method_or_script),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
