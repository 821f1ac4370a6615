/* What leaves for a request, byte for byte: in how few pieces, in whose order, with what end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "fcgi/out.h"

#define ID 0x0102

static int fds[2]; /* [0] is the server's side */
static struct fcgi_out out;

static int begin(void **state)
{
    (void)state;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        return -1;
    }
    out_begin(&out, fds[0], ID);
    return 0;
}

static int end(void **state)
{
    (void)state;
    close(fds[0]);
    close(fds[1]);
    return 0;
}

/* What lies there, in one piece; its length. */
static size_t receive(char *p, size_t n)
{
    ssize_t got = recv(fds[1], p, n, MSG_DONTWAIT);

    return got < 0 ? 0 : (size_t)got;
}

/* The contents of records of one type out of bytes that must be whole records of the request. */
static void contents(struct buf *to, const char *bytes, size_t n, int type)
{
    struct fcgi_wire_reader r = {0};
    const unsigned char *p = (const unsigned char *)bytes;
    enum fcgi_wire_step step;
    struct str piece;

    while ((step = fcgi_wire_read(&r, &p, &n, &piece)) != FCGI_WIRE_MORE) {
        assert_int_equal(r.header.version, 1);
        assert_int_equal(r.header.id, ID);
        assert_int_equal((r.header.content + r.header.padding) % 8, 0);
        if (step == FCGI_WIRE_CONTENT && r.header.type == type) {
            buf_str(to, piece);
        }
    }
    assert_int_equal(n, 0);
    assert_false(r.in_record);
}

static void a_small_answer_is_one_piece(void **state)
{
    static const char expected[] = "\1\6\1\2\0\13\5\0Status: 200\0\0\0\0\0"
                                   "\1\6\1\2\0\0\0\0"
                                   "\1\3\1\2\0\10\0\0\0\0\0\0\0\0\0\0";
    char bytes[256];

    (void)state;
    assert_int_equal(out_put(&out, FCGI_WIRE_STDOUT, "Status", 6), 0);
    assert_int_equal(out_put(&out, FCGI_WIRE_STDOUT, "", 0), 0);
    assert_int_equal(out_put(&out, FCGI_WIRE_STDOUT, ": 200", 5), 0);
    assert_int_equal(receive(bytes, sizeof(bytes)), 0);
    assert_false(out.written);
    assert_int_equal(out_end(&out, false), 0);
    assert_int_equal(receive(bytes, sizeof(bytes)), sizeof(expected) - 1);
    assert_memory_equal(bytes, expected, sizeof(expected) - 1);
    assert_true(out.written);
}

static void nothing_but_an_end(void **state)
{
    char bytes[256];

    (void)state;
    assert_int_equal(out_flush(&out), 0);
    assert_int_equal(receive(bytes, sizeof(bytes)), 0);
    assert_false(out.written);
    assert_int_equal(out_end(&out, false), 0);
    assert_int_equal(receive(bytes, sizeof(bytes)), 8 + 16);
}

static void streams_keep_their_order_and_end(void **state)
{
    static const char expected[] = "\1\6\1\2\0\1\7\0a\0\0\0\0\0\0\0"
                                   "\1\7\1\2\0\1\7\0b\0\0\0\0\0\0\0"
                                   "\1\6\1\2\0\1\7\0c\0\0\0\0\0\0\0"
                                   "\1\7\1\2\0\0\0\0\1\6\1\2\0\0\0\0\1\3\1\2\0\10\0\0\0\0\0\0\0\0\0\0";
    char bytes[256];

    (void)state;
    out_put(&out, FCGI_WIRE_STDOUT, "a", 1);
    out_put(&out, FCGI_WIRE_STDERR, "b", 1);
    out_put(&out, FCGI_WIRE_STDOUT, "c", 1);
    assert_int_equal(out_end(&out, false), 0);
    assert_int_equal(receive(bytes, sizeof(bytes)), sizeof(expected) - 1);
    assert_memory_equal(bytes, expected, sizeof(expected) - 1);
}

/* All sizes around the buffer's, each behind something that was collected: nothing is lost or moved. */
static void any_size(void **state)
{
    static char text[200000], bytes[210000];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 23);
    }
    for (size_t n = FCGI_OUT_BYTES - 200; n < FCGI_OUT_BYTES + 200; n++) {
        struct buf got = {0};

        out_put(&out, FCGI_WIRE_STDERR, text, 3);
        out_put(&out, FCGI_WIRE_STDOUT, text, n - 30);
        out_put(&out, FCGI_WIRE_STDOUT, text + n - 30, 20);
        out_put(&out, FCGI_WIRE_STDOUT, text + n - 10, 10);
        assert_int_equal(out_end(&out, false), 0);
        contents(&got, bytes, receive(bytes, sizeof(bytes)), FCGI_WIRE_STDOUT);
        assert_int_equal(got.n, n);
        assert_memory_equal(got.p, text, n);
        buf_free(&got);
        out_begin(&out, fds[0], ID);
    }
}

/* Large output goes past the buffer, in the same system call as what was collected before it. */
static void large_output(void **state)
{
    static char text[150000], bytes[200000];
    struct buf got = {0};
    int room = 1 << 20;

    (void)state;
    memset(text, 'x', sizeof(text));
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    out_put(&out, FCGI_WIRE_STDOUT, "head", 4);
    assert_int_equal(out_put(&out, FCGI_WIRE_STDOUT, text, sizeof(text)), 0);
    size_t n = receive(bytes, sizeof(bytes));

    contents(&got, bytes, n, FCGI_WIRE_STDOUT);
    assert_int_equal(got.n, 4 + sizeof(text));
    assert_memory_equal(got.p, "headxxx", 7);
    assert_int_equal(out.n, 0);
    buf_free(&got);
}

static void a_peer_that_is_gone(void **state)
{
    (void)state;
    close(fds[1]);
    out_put(&out, FCGI_WIRE_STDOUT, "a", 1);
    assert_int_equal(out_flush(&out), -1);
    assert_true(out.broken);
    assert_int_equal(out_put(&out, FCGI_WIRE_STDOUT, "b", 1), -1);
    assert_int_equal(out_end(&out, false), -1);
    fds[1] = dup(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_small_answer_is_one_piece, begin, end),
        cmocka_unit_test_setup_teardown(nothing_but_an_end, begin, end),
        cmocka_unit_test_setup_teardown(streams_keep_their_order_and_end, begin, end),
        cmocka_unit_test_setup_teardown(any_size, begin, end),
        cmocka_unit_test_setup_teardown(large_output, begin, end),
        cmocka_unit_test_setup_teardown(a_peer_that_is_gone, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
