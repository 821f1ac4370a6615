/* The reader of heads: each case is fed whole and byte by byte and must report the same. */
#include <fastcgi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fcgi/head.h"

/* -- building records -- */

static void add_record(struct buf *b, int version, int type, int id, const char *p, size_t n, int padding)
{
    const unsigned char h[8] = {
        (unsigned char)version,  (unsigned char)type, (unsigned char)(id >> 8), (unsigned char)id,
        (unsigned char)(n >> 8), (unsigned char)n,    (unsigned char)padding,   0};

    buf_add(b, (const char *)h, sizeof(h));
    buf_add(b, p, n);
    for (int i = 0; i < padding; i++) {
        buf_add(b, "", 1);
    }
}

static void add(struct buf *b, int type, int id, const char *p, size_t n)
{
    add_record(b, 1, type, id, p, n, 0);
}

static void add_begin(struct buf *b, int id, int role, int flags)
{
    const char body[8] = {0, (char)role, (char)flags};

    add_record(b, 1, FCGI_BEGIN_REQUEST, id, body, sizeof(body), 0);
}

/* -- feeding -- */

struct seen {
    enum head_event events[16];
    size_t count;
    struct fcgi_head h;
    struct str params; /* of a complete head */
    size_t left;
};

/* Every event until the bytes are used up; stops behind a request or a refusal. */
static void feed(struct seen *seen, const struct buf *bytes, size_t piece)
{
    size_t at = 0;
    bool over = false;

    memset(seen, 0, sizeof(*seen));
    fcgi_head_reset(&seen->h);
    while (at < bytes->n && !over) {
        const unsigned char *p = (const unsigned char *)bytes->p + at;
        size_t n = bytes->n - at < piece ? bytes->n - at : piece;
        enum head_event e;

        do {
            size_t before = n;

            e = fcgi_head_feed(&seen->h, &p, &n);
            at += before - n;
            if (e != HEAD_MORE && seen->count < 16) {
                seen->events[seen->count++] = e;
            }
            over = e == HEAD_REQUEST || e == HEAD_REFUSED;
        } while (e != HEAD_MORE && !over);
        assert_true(over || n == 0);
    }
    seen->left = bytes->n - at;
    seen->params = fcgi_head_params(&seen->h);
}

/* Fed in pieces of 1, 7 and all bytes, the events are those of `expected`. The last one's is left in *seen.
 */
static void expect(struct seen *seen, struct buf *bytes, const enum head_event *expected, size_t count)
{
    static const size_t pieces[] = {1, 7, 1 << 24};

    for (size_t i = 0; i < 3; i++) {
        feed(seen, bytes, pieces[i]);
        assert_int_equal(seen->count, count);
        for (size_t k = 0; k < count; k++) {
            assert_int_equal(seen->events[k], expected[k]);
        }
        if (i < 2) {
            fcgi_head_reset(&seen->h);
        }
    }
    bool kept = fcgi_head_keep(&seen->h); /* what lay in the bytes */

    assert_true(kept || seen->h.why);
    seen->params = fcgi_head_params(&seen->h);
    buf_free(bytes);
}

#define EXPECT(seen, bytes, ...)                                                                             \
    expect(seen, bytes, (const enum head_event[]){__VA_ARGS__},                                              \
           sizeof((const enum head_event[]){__VA_ARGS__}) / sizeof(enum head_event))

/* -- cases -- */

static const char pair[] = "\x01\x02"
                           "AXY";

static void a_request(void **state)
{
    struct buf b = {0};
    struct seen seen;

    (void)state;
    add_begin(&b, 258, FCGI_RESPONDER, FCGI_KEEP_CONN);
    add_record(&b, 1, FCGI_PARAMS, 258, pair, 5, 3);
    add_record(&b, 1, FCGI_PARAMS, 258, "", 0, 8);
    add(&b, FCGI_STDIN, 258, "", 0);
    EXPECT(&seen, &b, HEAD_REQUEST);
    assert_int_equal(seen.left, 8);
    assert_int_equal(seen.h.id, 258);
    assert_true(seen.h.keep);
    assert_int_equal(seen.h.pairs, 1);
    assert_true(str_eq(seen.params, (struct str){pair, 5}));
    fcgi_head_reset(&seen.h);
}

static void a_pair_over_many_records(void **state)
{
    struct buf b = {0};
    struct seen seen;
    char long_pair[4 + 4 + 3 + 300];
    const unsigned char lengths[8] = {0x80, 0, 0, 3, 0x80, 0, 300 >> 8, 300 & 255};

    (void)state;
    memset(long_pair, 'v', sizeof(long_pair));
    memcpy(long_pair, lengths, 8);
    add_begin(&b, 1, FCGI_RESPONDER, 0);
    for (size_t i = 0; i < sizeof(long_pair); i++) {
        add(&b, FCGI_PARAMS, 1, long_pair + i, 1);
    }
    add(&b, FCGI_PARAMS, 1, "", 0);
    EXPECT(&seen, &b, HEAD_REQUEST);
    assert_int_equal(seen.h.pairs, 1);
    assert_true(str_eq(seen.params, (struct str){long_pair, sizeof(long_pair)}));
    fcgi_head_reset(&seen.h);
}

static void lengths_that_lie(void **state)
{
    static const char *const params[] = {"\xff\xff\xff\xff\xff\xff\xff\xff", "\x7f\x80\x7f\xff\xff\xfe",
                                         "\x01"};

    (void)state;
    for (size_t i = 0; i < 3; i++) { /* lengths beyond any memory; an unfinished pair */
        struct buf b = {0};
        struct seen seen;

        add_begin(&b, 1, FCGI_RESPONDER, 0);
        add(&b, FCGI_PARAMS, 1, params[i], strlen(params[i]));
        add(&b, FCGI_PARAMS, 1, "", 0);
        EXPECT(&seen, &b, HEAD_REFUSED);
        fcgi_head_reset(&seen.h);
    }
}

static void too_much(void **state)
{
    struct buf b = {0};
    struct seen seen;
    static char zeros[60000];

    (void)state;
    add_begin(&b, 1, FCGI_RESPONDER, 0);
    add(&b, FCGI_PARAMS, 1, zeros, sizeof(zeros)); /* 30,000 pairs of nothing */
    EXPECT(&seen, &b, HEAD_REFUSED);
    fcgi_head_reset(&seen.h);

    add_begin(&b, 1, FCGI_RESPONDER, 0);
    add(&b, FCGI_PARAMS, 1, "\x80\x00\x00\x01\x80\x0f\xff\xff", 8);
    for (int i = 0; i < 18; i++) {
        add(&b, FCGI_PARAMS, 1, zeros, sizeof(zeros)); /* one pair of just under 1 MiB, in the end too long */
    }
    EXPECT(&seen, &b, HEAD_REFUSED);
    fcgi_head_reset(&seen.h);
}

static void refused(void **state)
{
    static const struct {
        int version, type, id;
        size_t n;
        bool begun;
    } cases[] = {
        {2, FCGI_BEGIN_REQUEST, 1, 8, false},
        {0, FCGI_BEGIN_REQUEST, 1, 8, false},
        {1, FCGI_BEGIN_REQUEST, 1, 7, false},
        {1, FCGI_BEGIN_REQUEST, 1, 9, false},
        {1, FCGI_BEGIN_REQUEST, 0, 8, false},
        {1, FCGI_PARAMS, 0, 5, false},
        {1, FCGI_STDOUT, 1, 0, false},
        {1, FCGI_END_REQUEST, 1, 8, false},
        {1, 99, 1, 0, false},
        {1, FCGI_BEGIN_REQUEST, 1, 8, true},
        {1, FCGI_STDIN, 1, 0, true},
        {1, FCGI_GET_VALUES, 0, FCGI_VALUES_MAX + 1, false},
    };
    static const char zeros[FCGI_VALUES_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = {0};
        struct seen seen;

        if (cases[i].begun) {
            add_begin(&b, 1, FCGI_RESPONDER, 0);
        }
        add_record(&b, cases[i].version, cases[i].type, cases[i].id, zeros, cases[i].n, 0);
        EXPECT(&seen, &b, HEAD_REFUSED);
        assert_non_null(seen.h.why);
        fcgi_head_reset(&seen.h);
    }
}

static void beside_a_request(void **state)
{
    struct buf b = {0};
    struct seen seen;

    (void)state;
    add(&b, FCGI_STDIN, 7, "left over", 9); /* of a request that is over */
    add(&b, FCGI_ABORT_REQUEST, 7, "", 0);
    add(&b, FCGI_GET_VALUES, 0, "\x0f\x00" FCGI_MPXS_CONNS, 17);
    add(&b, 200, 0, "xyz", 3);
    add_begin(&b, 1, 9, 0);
    add_begin(&b, 1, FCGI_RESPONDER, 0);
    add_begin(&b, 2, FCGI_RESPONDER, 0);
    add(&b, FCGI_PARAMS, 2, "skipped", 7);
    add(&b, FCGI_PARAMS, 1, pair, 5);
    add(&b, FCGI_ABORT_REQUEST, 1, "", 0);
    add(&b, FCGI_PARAMS, 1, "", 0);
    EXPECT(&seen, &b, HEAD_VALUES, HEAD_UNKNOWN, HEAD_ROLE, HEAD_FOREIGN, HEAD_ABORTED);
    assert_true(fcgi_head_idle(&seen.h));
    assert_true(fcgi_head_asked(&seen.h, STR(FCGI_MPXS_CONNS)));
    assert_false(fcgi_head_asked(&seen.h, STR(FCGI_MAX_CONNS)));
    fcgi_head_reset(&seen.h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request),        cmocka_unit_test(a_pair_over_many_records),
        cmocka_unit_test(lengths_that_lie), cmocka_unit_test(too_much),
        cmocka_unit_test(refused),          cmocka_unit_test(beside_a_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
