/* Request bodies: in memory, in files, and what all of them may have together. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/answer/body.h"

#define LARGE (1u << 20)

static char text[10000];

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 26);
    }
    http_body_limits(64 << 10, 40000);
    return 0;
}

static void assert_holds(struct body *b, size_t n)
{
    char out[sizeof(text)];
    assert_int_equal(b->total, n);
    for (size_t at = 0; at < n; at += sizeof(text)) {
        assert_int_equal(http_body_read(b, out, sizeof(out)), sizeof(text));
        assert_memory_equal(out, text, sizeof(text));
    }
    assert_int_equal(http_body_read(b, out, sizeof(out)), 0);
}

static void small_ones_are_in_memory_and_large_ones_in_files(void **state)
{
    struct body small, large;
    (void)state;
    http_body_init(&small);
    http_body_init(&large);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(http_body_add(&small, text, sizeof(text), -1, LARGE), 0);
        assert_int_equal(http_body_add(&large, text, sizeof(text), -1, 15000), 0);
    }
    assert_true(small.fd < 0);
    assert_true(large.fd >= 0 && !large.p);
    assert_holds(&small, 2 * sizeof(text));
    assert_holds(&large, 2 * sizeof(text));
    http_body_free(&small);
    http_body_free(&large);
}

/* Again and again: what one body had is there for the next. */
static void together_they_have_so_much(void **state)
{
    struct body bodies[12];
    (void)state;
    for (int round = 0; round < 20; round++) {
        int in_files = 0;
        for (int i = 0; i < 8; i++) {
            http_body_init(&bodies[i]);
            assert_int_equal(http_body_add(&bodies[i], text, sizeof(text), sizeof(text), LARGE), 0);
            in_files += bodies[i].fd >= 0;
        }
        assert_int_equal(in_files, 2); /* six times 10,000 bytes fit into 64 KB */
        assert_int_equal(http_body_add(&bodies[7], text, sizeof(text), -1, LARGE), 0);
        assert_int_equal(http_body_add(&bodies[7], text, sizeof(text), -1, LARGE), 0);
        errno = 0;
        assert_int_equal(http_body_add(&bodies[7], text, sizeof(text), -1, LARGE), -1); /* 50,000 in files */
        assert_int_equal(errno, EDQUOT);
        assert_holds(&bodies[0], sizeof(text));
        assert_holds(&bodies[6], sizeof(text));
        for (int i = 0; i < 8; i++) {
            http_body_free(&bodies[i]);
        }
    }
}

/* One that grows when there is no more memory goes on in a file, with all that it had. */
static void one_that_grows(void **state)
{
    struct body first, second;
    (void)state;
    http_body_limits(64 << 10, LARGE);
    http_body_init(&first);
    http_body_init(&second);
    assert_int_equal(http_body_add(&second, text, sizeof(text), -1, LARGE), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(http_body_add(&first, text, sizeof(text), sizeof(text), LARGE), 0);
        if (first.fd >= 0) {
            break;
        }
    }
    assert_int_equal(http_body_add(&second, text, sizeof(text), -1, LARGE), 0);
    assert_int_equal(http_body_add(&second, text, sizeof(text), -1, LARGE), 0);
    assert_true(first.fd >= 0 || second.fd >= 0);
    assert_holds(&second, 3 * sizeof(text));
    http_body_free(&first);
    http_body_free(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(small_ones_are_in_memory_and_large_ones_in_files, set_up),
        cmocka_unit_test_setup(together_they_have_so_much, set_up),
        cmocka_unit_test_setup(one_that_grows, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
