/* The HTTP/1 parser: golden heads, refusals, every split position, every flipped bit, chunked bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/wire/h1_parse.h"

#define LIMIT 32768

static struct http_head head;
static struct h1_facts facts;

/* The whole way: find the end, parse. The head's length or a refusal or H1_MORE. */
static int parse(const char *text, size_t n)
{
    size_t scanned = 0;
    ptrdiff_t end = h1_parse_end(text, n, LIMIT, &scanned);
    if (end <= 0) {
        return (int)end;
    }
    int bad = h1_parse_head(text, (size_t)end, &head, &facts);
    return bad ? bad : (int)end;
}

static int parse_text(const char *text)
{
    return parse(text, strlen(text));
}

static void assert_str(struct str s, const char *text)
{
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
}

#define REQUEST                                                                                              \
    "POST /a%20b/c.php/d?x=1&y=2 HTTP/1.1\r\nHost: example.com:8080\r\nAccept:  text/html \t\r\n"            \
    "Content-Length: 12\r\nExpect: 100-continue\r\nX-Empty:\r\n\r\n"

static void test_golden(void **state)
{
    (void)state;
    assert_int_equal(parse_text(REQUEST "BODY"), strlen(REQUEST));
    assert_str(head.method, "POST");
    assert_str(head.target, "/a%20b/c.php/d?x=1&y=2");
    assert_str(head.path, "/a%20b/c.php/d");
    assert_str(head.query, "x=1&y=2");
    assert_str(head.host, "example.com:8080");
    assert_int_equal(head.proto, 1001);
    assert_int_equal(head.content_length, 12);
    assert_int_equal(head.field_count, 5);
    assert_str(head.fields[1].value, "text/html");
    assert_str(head.fields[4].value, "");
    assert_true(facts.keep_alive);
    assert_true(facts.expect_continue);
    assert_false(facts.chunked);
}

static void test_versions_and_keep_alive(void **state)
{
    (void)state;
    assert_true(parse_text("GET / HTTP/1.0\r\n\r\n") > 0);
    assert_int_equal(head.proto, 1000);
    assert_false(facts.keep_alive);
    assert_null(head.query.p);
    assert_true(parse_text("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n") > 0);
    assert_true(facts.keep_alive);
    assert_true(parse_text("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n") > 0);
    assert_false(facts.keep_alive);
}

static void test_targets(void **state)
{
    (void)state;
    assert_true(parse_text("GET http://Example.com/x?y HTTP/1.1\r\nHost: example.com\r\n\r\n") > 0);
    assert_str(head.path, "/x");
    assert_str(head.query, "y");
    assert_str(head.host, "Example.com");
    assert_true(parse_text("GET http://example.com HTTP/1.1\r\nHost: example.com\r\n\r\n") > 0);
    assert_str(head.path, "/");
    assert_true(parse_text("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") > 0);
    assert_str(head.path, "*");
    assert_true(parse_text("GET /? HTTP/1.1\r\nHost: a\r\n\r\n") > 0);
    assert_non_null(head.query.p);
    assert_int_equal(head.query.n, 0);
}

static void test_upgrade(void **state)
{
    (void)state;
    assert_true(
        parse_text("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                   "HTTP2-Settings: AAMAAABk\r\n\r\n") > 0);
    assert_true(facts.upgrade_h2c);
    assert_str(facts.h2_settings, "AAMAAABk");
    assert_true(parse_text("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
                           "HTTP2-Settings: AAMAAABk\r\n\r\n") > 0);
    assert_false(facts.upgrade_h2c);
}

#define OK_LINE "GET / HTTP/1.1\r\nHost: a\r\n"

static const struct {
    const char *text;
    int verdict;
} refused[] = {
    {OK_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: 5, 5\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: +5\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: -1\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: 0x5\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: 5 5\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length:\r\n\r\n", H1_BAD},
    {OK_LINE "Content-Length: 99999999999999999999\r\n\r\n", H1_BAD},
    {OK_LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", H1_BAD},
    {OK_LINE "Transfer-Encoding: gzip, chunked\r\n\r\n", H1_CODING},
    {OK_LINE "Transfer-Encoding: chunked, identity\r\n\r\n", H1_CODING},
    {OK_LINE "Transfer-Encoding: xchunked\r\n\r\n", H1_CODING},
    {OK_LINE "Transfer-Encoding: \"chunked\"\r\n\r\n", H1_CODING},
    {OK_LINE "Transfer-Encoding:\r\n\r\n", H1_CODING},
    {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", H1_BAD},
    {OK_LINE "Transfer-Encoding : chunked\r\n\r\n", H1_BAD},
    {OK_LINE " Folded: x\r\n\r\n", H1_BAD},
    {OK_LINE "X: a\r\n b\r\n\r\n", H1_BAD},
    {OK_LINE "X: a\rb\r\n\r\n", H1_BAD},
    {OK_LINE "X: a\nY: b\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\nHost: a\n\n", H1_BAD},
    {OK_LINE "X: a\001b\r\n\r\n", H1_BAD},
    {OK_LINE "X\r\n\r\n", H1_BAD},
    {OK_LINE ": empty\r\n\r\n", H1_BAD},
    {OK_LINE "X(Y): a\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", H1_BAD},
    {"GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", H1_BAD},
    {"GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n", H1_BAD},
    {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET /\177 HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", H1_BAD},
    {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET /\r\n\r\n", H1_BAD},
    {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET / http/1.1\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", H1_BAD},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", H1_VERSION},
    {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", H1_VERSION},
    {OK_LINE "Expect: something\r\nContent-Length: 1\r\n\r\n", H1_EXPECTATION},
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", H1_BAD}, /* the connection skips it, the parser does not */
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int verdict = parse_text(refused[i].text);
        if (verdict != refused[i].verdict) {
            fail_msg("%d instead of %d for:\n%s", verdict, refused[i].verdict, refused[i].text);
        }
    }
    assert_int_equal(parse(OK_LINE "X: a\0b\r\n\r\n", sizeof(OK_LINE "X: a\0b\r\n\r\n") - 1), H1_BAD);
}

static void test_hosts(void **state)
{
    (void)state;
    assert_true(h1_parse_host_ok(STR("example.com")));
    assert_true(h1_parse_host_ok(STR("a_b.example:80")));
    assert_true(h1_parse_host_ok(STR("127.0.0.1:8080")));
    assert_true(h1_parse_host_ok(STR("[::1]:8080")));
    assert_true(h1_parse_host_ok(STR("a:")));
    assert_false(h1_parse_host_ok(STR("[]")));
    assert_false(h1_parse_host_ok(STR("[::1]x")));
    assert_false(h1_parse_host_ok(STR(":80")));
    assert_false(h1_parse_host_ok(STR("a:80:80")));
}

static void test_limits(void **state)
{
    (void)state;
    static char text[LIMIT * 2];
    /* fields */
    for (int extra = 0; extra <= 1; extra++) {
        int n = sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 0; i < HTTP_MAX_FIELDS - 1 + extra; i++) {
            n += sprintf(text + n, "x%d: y\r\n", i);
        }
        sprintf(text + n, "\r\n");
        int verdict = parse_text(text);
        assert_true(extra ? verdict == H1_TOO_LARGE : verdict > 0);
    }
    /* the target */
    for (size_t target = H1_MAX_TARGET; target <= H1_MAX_TARGET + 1; target++) {
        memcpy(text, "GET /", 5);
        memset(text + 5, 'a', target - 1);
        strcpy(text + 4 + target, " HTTP/1.1\r\nHost: a\r\n\r\n");
        int verdict = parse_text(text);
        assert_true(target > H1_MAX_TARGET ? verdict == H1_URI_TOO_LONG : verdict > 0);
    }
    /* the whole head */
    size_t scanned = 0;
    memset(text, 'a', sizeof text);
    assert_int_equal(h1_parse_end(text, LIMIT, LIMIT, &scanned), H1_URI_TOO_LONG);
    memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
    scanned = 0;
    assert_int_equal(h1_parse_end(text, LIMIT - 1, LIMIT, &scanned), H1_MORE);
    assert_int_equal(h1_parse_end(text, LIMIT, LIMIT, &scanned), H1_TOO_LARGE);
    strcpy(text + LIMIT - 4, "\r\n\r\n");
    assert_int_equal(h1_parse_end(text, LIMIT, LIMIT, &scanned), LIMIT);
}

static void test_every_split(void **state)
{
    (void)state;
    size_t n = strlen(REQUEST);
    for (size_t cut = 0; cut < n; cut++) {
        size_t scanned = 0;
        assert_int_equal(h1_parse_end(REQUEST, cut, LIMIT, &scanned), H1_MORE);
        assert_int_equal(h1_parse_end(REQUEST, n, LIMIT, &scanned), (int)n);
    }
    size_t scanned = 0;
    for (size_t have = 1; have < n; have++) {
        assert_int_equal(h1_parse_end(REQUEST, have, LIMIT, &scanned), H1_MORE);
    }
    assert_int_equal(h1_parse_end(REQUEST, n, LIMIT, &scanned), (int)n);
}

/* No flipped bit may make the parser leave its bytes (the copy has no room behind it), or accept a head whose
 * framing fields it has not understood. */
static void test_every_bit(void **state)
{
    (void)state;
    size_t n = strlen(REQUEST);
    for (size_t bit = 0; bit < n * 8; bit++) {
        char *copy = malloc(n);
        memcpy(copy, REQUEST, n);
        copy[bit / 8] ^= (char)(1 << bit % 8);
        int verdict = parse(copy, n);
        if (verdict > 0) {
            assert_true(verdict <= (int)n);
            for (size_t i = 0; i < head.field_count; i++) {
                assert_true(head.fields[i].name.p >= copy && head.fields[i].name.n > 0);
                assert_true(head.fields[i].value.p + head.fields[i].value.n <= copy + n);
            }
            assert_true(head.content_length >= 0);
        }
        free(copy);
    }
}

/* -- chunked -- */

/* Feeds text in pieces of `step` bytes; the body, or NULL if it was refused or is incomplete. */
static const char *unchunk(const char *text, size_t n, size_t step, size_t *rest)
{
    static char body[512];
    struct h1_chunks c = {0};
    size_t at = 0, got = 0;
    while (at < n) {
        size_t give = n - at < step ? n - at : step;
        size_t used = 0;
        struct str data = STR_NONE;
        enum h1_chunk_result result = h1_chunks_next(&c, text + at, give, &used, &data);
        assert_true(used <= give);
        at += used;
        if (result == H1_CHUNK_DATA) {
            assert_true(got + data.n < sizeof body);
            memcpy(body + got, data.p, data.n);
            got += data.n;
        } else if (result == H1_CHUNK_END) {
            *rest = n - at;
            body[got] = '\0';
            return body;
        } else if (result == H1_CHUNK_BAD) {
            return NULL;
        }
    }
    return NULL;
}

#define CHUNKED                                                                                              \
    "5\r\nhello\r\n1 \t;a=\"b\"\r\n \r\n00000000000000000000A\r\n0123456789\r\n000\r\nX-Trailer: "           \
    "v\r\nY:\r\n\r\n"

static void test_chunks(void **state)
{
    (void)state;
    size_t n = strlen(CHUNKED "GET"), rest = 0;
    for (size_t step = 1; step <= n; step++) {
        const char *body = unchunk(CHUNKED "GET", n, step, &rest);
        assert_non_null(body);
        assert_string_equal(body, "hello 0123456789");
        /* What follows is not touched: of what was fed with the end, all is left. */
        assert_int_equal(rest, 3);
    }
}

static const char *const bad_chunks[] = {
    "\r\n",
    "g\r\n",
    "-1\r\n",
    "+5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    " 5\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "5\nhello\r\n",
    "5\rhello\r\n",
    "5\r\nhelloX\r\n",
    "5\r\nhello\n",
    "5\r\nhello0\r\n\r\n",
    "5 5\r\nhello\r\n",
    "5\t\r\nhello\r\n",
    " ;\r\n",
    "1000000000000005\r\nhello\r\n",
    "ffffffffffffffff\r\nhello\r\n",
    "5;a\nb\r\nhello\r\n",
    "5;a\001\r\nhello\r\n",
    "0\r\nX Y: a\r\n\r\n",
    "0\r\n folded\r\n\r\n",
    "0\r\nX: a\n\r\n",
    "0\r\nX\r\n\r\n",
    "0\r\n\n",
};

static void test_bad_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_chunks / sizeof bad_chunks[0]; i++) {
        struct h1_chunks c = {0};
        size_t at = 0, n = strlen(bad_chunks[i]), used;
        struct str data;
        enum h1_chunk_result result = H1_CHUNK_MORE;
        while (at < n && (result == H1_CHUNK_MORE || result == H1_CHUNK_DATA)) {
            result = h1_chunks_next(&c, bad_chunks[i] + at, n - at, &used, &data);
            at += used;
        }
        if (result != H1_CHUNK_BAD) {
            fail_msg("accepted: %s", bad_chunks[i]);
        }
    }
}

static void test_chunk_overhead(void **state)
{
    (void)state;
    static char text[65536];
    memset(text, 'a', sizeof text);
    memcpy(text, "1;", 2);
    struct h1_chunks c = {0};
    size_t used;
    struct str data;
    assert_int_equal(h1_chunks_next(&c, text, sizeof text, &used, &data), H1_CHUNK_BAD);
}

/* A later version of the same protocol is this protocol; zeros in front of a size are bounded like all that
 * is no data. */
static void test_later_versions(void **state)
{
    static const char text[] = "GET / HTTP/1.9\r\nHost: a\r\n\r\n";
    (void)state;
    assert_int_equal(h1_parse_head(text, sizeof text - 1, &head, &facts), 0);
    assert_int_equal(head.proto, 1001);
    assert_true(facts.keep_alive);
}

static void test_endless_zeros(void **state)
{
    static char zeros[20000];
    struct h1_chunks c = {0};
    struct str data;
    size_t used;
    (void)state;
    memset(zeros, '0', sizeof zeros);
    assert_int_equal(h1_chunks_next(&c, zeros, sizeof zeros, &used, &data), H1_CHUNK_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),         cmocka_unit_test(test_versions_and_keep_alive),
        cmocka_unit_test(test_targets),        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_every_bit),      cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_later_versions), cmocka_unit_test(test_endless_zeros),
        cmocka_unit_test(test_bad_chunks),     cmocka_unit_test(test_chunk_overhead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
