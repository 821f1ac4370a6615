/* Records cut at every place, lengths at their limits, pairs that lie about their lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/fcgi_wire.h"

static void headers(void **state)
{
    unsigned char bytes[FCGI_WIRE_HEADER_SIZE];

    (void)state;
    fcgi_wire_put(bytes, FCGI_WIRE_STDOUT, 0xabcd, 0x1234, 5);
    assert_memory_equal(bytes, "\1\6\xab\xcd\x12\x34\5\0", sizeof(bytes));
    struct fcgi_wire_header h = fcgi_wire_get(bytes);

    assert_int_equal(h.version, FCGI_WIRE_VERSION);
    assert_int_equal(h.type, FCGI_WIRE_STDOUT);
    assert_int_equal(h.id, 0xabcd);
    assert_int_equal(h.content, 0x1234);
    assert_int_equal(h.padding, 5);
    for (size_t n = 0; n < 40; n++) {
        assert_int_equal((n + fcgi_wire_padding(n)) % 8, 0);
        assert_true(fcgi_wire_padding(n) < 8);
    }
    assert_int_equal(fcgi_wire_padding(FCGI_WIRE_CONTENT_MAX), 0);
}

/* A record with content and padding, one with neither, one with padding alone, one with content alone. */
static const char records[] = "\1\5\0\1\0\3\5\0abc?????"
                              "\1\5\0\1\0\0\0\0"
                              "\1\4\0\2\0\0\2\0??"
                              "\1\6\0\3\0\2\0\0xy";

/* What is told of them: H and the type, content, '.' at the end. */
static void read_pieces(size_t piece, char *out)
{
    struct fcgi_wire_reader r = {0};
    size_t at = 0, whole = sizeof(records) - 1;

    do {
        size_t n = whole - at < piece ? whole - at : piece;
        const unsigned char *p = (const unsigned char *)records + at;
        enum fcgi_wire_step step;
        struct str content;

        at += n;
        while ((step = fcgi_wire_read(&r, &p, &n, &content)) != FCGI_WIRE_MORE) {
            if (step == FCGI_WIRE_HEADER) {
                *out++ = 'H';
                *out++ = (char)('0' + r.header.type);
            } else if (step == FCGI_WIRE_CONTENT) {
                memcpy(out, content.p, content.n);
                out += content.n;
            } else {
                *out++ = '.';
            }
        }
        assert_int_equal(n, 0);
    } while (at < whole);
    assert_false(r.in_record);
    assert_int_equal(r.have, 0);
    *out = '\0';
}

static void cut_at_every_place(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < sizeof(records); piece++) {
        char told[64];

        read_pieces(piece, told);
        assert_string_equal(told, "H5abc.H5.H4.H6xy.");
    }
}

static void pairs(void **state)
{
    static const size_t lengths[] = {0, 1, 127, 128, 129, 255, 256, 70000};
    static char bytes[70000];
    struct buf list = {0};
    struct str rest, name, value;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        unsigned char head[8];
        size_t n = fcgi_wire_put_length(head, 3);

        n += fcgi_wire_put_length(head + n, lengths[i]);
        assert_int_equal(n, lengths[i] < 128 ? 2 : 5);
        buf_add(&list, (const char *)head, n);
        buf_add(&list, "key", 3);
        buf_add(&list, bytes, lengths[i]);
    }
    rest = (struct str){list.p, list.n};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_true(fcgi_wire_pair(&rest, &name, &value));
        assert_true(str_eq(name, STR("key")));
        assert_int_equal(value.n, lengths[i]);
    }
    assert_false(fcgi_wire_pair(&rest, &name, &value));
    buf_free(&list);
}

/* Each is a list whose first pair is not there as a whole. */
static void malformed_pairs(void **state)
{
    static const struct str lists[] = {{"", 0},
                                       {"\3", 1},
                                       {"\3\1", 2},
                                       {"\3\1key", 5},
                                       {"\x80\0\0", 3},
                                       {"\1\xff\xff\xff\xffk", 6},
                                       {"\xff\xff\xff\xff\xff\xff\xff\xff", 8}};

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct str rest = lists[i], name, value;

        assert_false(fcgi_wire_pair(&rest, &name, &value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(headers), cmocka_unit_test(cut_at_every_place),
                                       cmocka_unit_test(pairs), cmocka_unit_test(malformed_pairs)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
