/* The PROXY protocol: golden bytes, cut at every position, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/sock.h"
#include "http/net/limits.h"

static int parse(const char *p, size_t n, char *out)
{
    struct sockaddr_storage source;
    bool local;
    char *exact = malloc(n + 1); /* its end is where the sanitizer looks */
    memcpy(exact, p, n);
    char *tight = realloc(exact, n > 0 ? n : 1);
    int used = proxy_header_parse(tight, n, &source, &local);
    free(tight);
    if (used > 0 && local) {
        strcpy(out, "local");
    } else if (used > 0) {
        char ip[64];
        sock_ip(&source, ip, sizeof(ip));
        sprintf(out, "%s %u", ip, sock_port(&source));
    }
    return used;
}

/* Whole, with more behind it, and cut everywhere. */
static void good(const char *p, size_t n, const char *expected)
{
    char got[128], longer[1024];
    assert_int_equal(parse(p, n, got), n);
    assert_string_equal(got, expected);
    memcpy(longer, p, n);
    memcpy(longer + n, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(parse(longer, n + 16, got), n);
    for (size_t cut = 0; cut < n; cut++) {
        int used = parse(p, cut, got);
        assert_true(used == 0 || (p[0] == '\r' && used == (int)n && strcmp(got, expected) == 0));
    }
}
#define GOOD(text, expected) good(text, sizeof(text) - 1, expected)

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static void test_good(void **state)
{
    (void)state;
    GOOD("PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n", "1.2.3.4 1234");
    GOOD("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", "2001:db8::1 65535");
    GOOD("PROXY UNKNOWN\r\n", "local");
    GOOD("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "local");
    GOOD(SIGNATURE "\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\0\x50", "1.2.3.4 1234");
    GOOD(SIGNATURE "\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\0\x50\x04\0\0", "1.2.3.4 1234");
    GOOD(SIGNATURE "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x04\xd2\0\x50",
         "2001:db8::1 1234");
    GOOD(SIGNATURE "\x20\0\0\0", "local");
    GOOD(SIGNATURE "\x20\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\0\x50", "local");
    GOOD(SIGNATURE "\x21\0\0\0", "local");
}

/* Extras of up to 64 KB: nobody waits for them to know who the client is. */
static void test_long(void **state)
{
    (void)state;
    char got[128];
    static const char head[] = SIGNATURE "\x21\x11\xff\xff\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\0\x50";
    assert_int_equal(parse(head, sizeof(head) - 1, got), 16 + 65535);
    assert_string_equal(got, "1.2.3.4 1234");
    for (size_t cut = 0; cut < sizeof(head) - 1; cut++) {
        assert_int_equal(parse(head, cut, got), 0);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const struct str rows[] = {
        STR("GET / HTTP/1.1\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 1234\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 9\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 123456 80\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 -1 80\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n"),
        STR("PROXY TCP4 ::1 ::1 1 80\r\n"),
        STR("PROXY TCP6 1.2.3.4 ::1 1 80\r\n"),
        STR("PROXY TCP5 1.2.3.4 1.2.3.4 1 80\r\n"),
        STR("PROXY TCP4 1.2.3.4  5.6.7.8 1234 80\r\n"),
        STR("PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\n"),
        STR("PROXY \n"),
        STR("PROXY\t"),
        STR(SIGNATURE "\x11\x11\0\x0c"),
        STR(SIGNATURE "\x22\x11\0\x0c"),
        STR(SIGNATURE "\x21\x11\0\x0b\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\0"),
        STR(SIGNATURE "\x21\x21\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\0\x50"),
    };
    char got[128];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (parse(rows[i].p, rows[i].n, got) != -1) {
            fail_msg("accepted: %s", rows[i].p);
        }
    }
    char line[200];
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(line, 106, got), 0);
    assert_int_equal(parse(line, 107, got), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
