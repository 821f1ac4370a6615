/* Limits per address: exact counts at the edges, bounded tables, fairness under a flood of addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>

#include "http/net/limits.h"

#define SECOND 1000000ULL

static struct sockaddr_storage v4(uint32_t n)
{
    struct sockaddr_storage sa;
    memset(&sa, 0, sizeof(sa));
    struct sockaddr_in *in = (struct sockaddr_in *)&sa;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(n);
    return sa;
}

static struct sockaddr_storage v6(const char *text)
{
    struct sockaddr_storage sa;
    memset(&sa, 0, sizeof(sa));
    sa.ss_family = AF_INET6;
    assert_int_equal(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&sa)->sin6_addr), 1);
    return sa;
}

static void test_window(void **state)
{
    (void)state;
    struct rate_limit *r = rate_limit_create(3, 60 * SECOND, 1024);
    struct sockaddr_storage a = v4(1), b = v4(2);
    uint64_t start = 5 * SECOND + 1;
    for (uint32_t i = 0; i < 3; i++) {
        struct rate_verdict v = rate_limit_take(r, &a, start + i);
        assert_true(v.allowed);
        assert_int_equal(v.limit, 3);
        assert_int_equal(v.remaining, 2 - i);
        assert_int_equal(v.reset_s, 60);
    }
    struct rate_verdict v = rate_limit_take(r, &a, start + 60 * SECOND - 1);
    assert_false(v.allowed);
    assert_int_equal(v.remaining, 0);
    assert_int_equal(v.reset_s, 1);
    assert_true(rate_limit_take(r, &b, start).allowed);
    v = rate_limit_take(r, &a, start + 60 * SECOND);
    assert_true(v.allowed);
    assert_int_equal(v.remaining, 2);
    rate_limit_destroy(r);
}

static void test_bucket(void **state)
{
    (void)state;
    struct rate_limit *r = rate_limit_create_bucket(4, 4 * SECOND, 1024);
    struct sockaddr_storage a = v4(1);
    uint64_t now = 10 * SECOND;
    for (uint32_t i = 0; i < 4; i++) {
        struct rate_verdict v = rate_limit_take(r, &a, now);
        assert_true(v.allowed);
        assert_int_equal(v.remaining, 3 - i);
    }
    struct rate_verdict v = rate_limit_take(r, &a, now + SECOND - 1);
    assert_false(v.allowed);
    assert_int_equal(v.reset_s, 1);
    assert_true(rate_limit_take(r, &a, now + SECOND).allowed);
    assert_false(rate_limit_take(r, &a, now + SECOND).allowed);
    int allowed = 0;
    for (uint64_t t = now + SECOND; t <= now + 11 * SECOND; t += SECOND / 10) {
        allowed += rate_limit_take(r, &a, t).allowed;
    }
    assert_int_equal(allowed, 10);
    v = rate_limit_take(r, &a, now + 60 * SECOND);
    assert_int_equal(v.remaining, 3);
    rate_limit_destroy(r);
}

/* Threads that have looked at the clock one after the other come in any order. */
static void test_a_little_earlier(void **state)
{
    (void)state;
    struct sockaddr_storage a = v4(1);
    for (int bucket = 0; bucket < 2; bucket++) {
        struct rate_limit *r = (bucket ? rate_limit_create_bucket : rate_limit_create)(4, 4 * SECOND, 1024);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(rate_limit_take(r, &a, 10 * SECOND).allowed);
        }
        struct rate_verdict v = rate_limit_take(r, &a, 10 * SECOND - 5000);
        assert_false(v.allowed);
        assert_int_equal(v.remaining, 0);
        assert_int_equal(v.reset_s, bucket ? 1 : 4);
        assert_true(rate_limit_take(r, &a, 10 * SECOND + v.reset_s * SECOND).allowed);
        rate_limit_destroy(r);
    }
}

static void test_keys(void **state)
{
    (void)state;
    struct rate_limit *r = rate_limit_create(1, SECOND, 1024);
    struct sockaddr_storage sa = v6("2001:db8:0:1::1");
    assert_true(rate_limit_take(r, &sa, SECOND).allowed);
    sa = v6("2001:db8:0:1:ffff::2");
    assert_false(rate_limit_take(r, &sa, SECOND).allowed);
    sa = v6("2001:db8:0:2::1");
    assert_true(rate_limit_take(r, &sa, SECOND).allowed);
    sa = v4(0x01020304);
    assert_true(rate_limit_take(r, &sa, SECOND).allowed);
    sa = v6("::ffff:1.2.3.4");
    assert_false(rate_limit_take(r, &sa, SECOND).allowed);
    struct sockaddr_storage local = {.ss_family = AF_UNIX};
    for (int i = 0; i < 5; i++) {
        assert_true(rate_limit_take(r, &local, SECOND).allowed);
    }
    rate_limit_destroy(r);
}

/* A flood of addresses takes no memory, and doesn't buy those who are over their limit a new window. */
static void test_flood(void **state)
{
    (void)state;
    struct rate_limit *r = rate_limit_create(10, 60 * SECOND, 4096);
    struct sockaddr_storage heavy = v4(0x7f000001);
    for (int i = 0; i < 20; i++) {
        rate_limit_take(r, &heavy, SECOND);
    }
    size_t before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < 100000; i++) {
        struct sockaddr_storage other = v4(0x0a000000 + i);
        assert_true(rate_limit_take(r, &other, 2 * SECOND).allowed);
    }
    assert_int_equal(mallinfo2().uordblks, before);
    assert_false(rate_limit_take(r, &heavy, 3 * SECOND).allowed);
    rate_limit_destroy(r);
}

static void test_connections(void **state)
{
    (void)state;
    struct conn_limit *c = conn_limit_create(2, 3);
    struct sockaddr_storage a = v4(1), b = v4(2), d = v4(3), e = v4(4);
    assert_true(conn_limit_enter(c, &a));
    assert_true(conn_limit_enter(c, &a));
    assert_false(conn_limit_enter(c, &a));
    conn_limit_leave(c, &a);
    assert_true(conn_limit_enter(c, &a));
    assert_true(conn_limit_enter(c, &b));
    assert_true(conn_limit_enter(c, &d));
    assert_false(conn_limit_enter(c, &e)); /* no room to count it */
    conn_limit_leave(c, &e);               /* never entered: nothing happens */
    conn_limit_leave(c, &d);
    assert_true(conn_limit_enter(c, &e));
    conn_limit_destroy(c);
    c = conn_limit_create(1, 1000);
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 1000; i++) {
            struct sockaddr_storage sa = v4(round * 1000 + i);
            assert_true(conn_limit_enter(c, &sa));
            assert_false(conn_limit_enter(c, &sa));
        }
        for (uint32_t i = 0; i < 1000; i++) {
            struct sockaddr_storage sa = v4(round * 1000 + i);
            conn_limit_leave(c, &sa);
        }
    }
    conn_limit_destroy(c);
}

struct shared {
    struct rate_limit *rate;
    struct conn_limit *connections;
    _Atomic int allowed;
};

static void *take_many(void *arg)
{
    struct shared *shared = arg;
    struct sockaddr_storage sa = v4(7);
    for (uint32_t i = 0; i < 5000; i++) {
        shared->allowed += rate_limit_take(shared->rate, &sa, SECOND).allowed;
        struct sockaddr_storage other = v4(i);
        if (conn_limit_enter(shared->connections, &other)) {
            conn_limit_leave(shared->connections, &other);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct shared shared = {rate_limit_create(1000, SECOND, 64), conn_limit_create(1, 8), 0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &shared), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(shared.allowed, 1000);
    rate_limit_destroy(shared.rate);
    conn_limit_destroy(shared.connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_a_little_earlier),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
