/* Queues of bytes: order, partial sends, files between memory, and each chunk freed exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/net/chunk.h"

static int freed;

static void count_free(struct chunk *self)
{
    (void)self;
    freed++;
}

static void test_every_partial_send(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(write(fileno(file), "xxFILExx", 8), 8);
    for (size_t step = 1; step <= 14; step++) {
        struct chunk_queue q = {0};
        struct chunk borrowed = {.p = "mid", .n = 3, .fd = -1, .free = count_free};
        struct chunk piece = {.n = 4, .fd = fileno(file), .offset = 2, .free = count_free};
        char out[32], part[32];
        size_t n = 0;
        freed = 0;
        assert_int_equal(chunk_copy(&q, "start", 5), 0);
        chunk_add(&q, &borrowed);
        chunk_add(&q, &piece);
        assert_int_equal(chunk_copy(&q, "!", 1), 0);
        assert_int_equal(q.n, 13);
        while (q.n > 0) {
            ssize_t got = chunk_peek(&q, part, step);
            assert_true(got > 0 && (size_t)got <= step);
            memcpy(out + n, part, (size_t)got);
            n += (size_t)got;
            chunk_taken(&q, (size_t)got);
        }
        assert_int_equal(n, 13);
        assert_memory_equal(out, "startmidFILE!", 13);
        assert_null(q.first);
        assert_null(q.last);
        assert_int_equal(freed, 2);
    }
    fclose(file);
}

static void test_vector_stops_at_a_file(void **state)
{
    (void)state;
    struct chunk_queue q = {0};
    struct iovec v[4];
    struct chunk piece = {.n = 4, .fd = 0, .free = count_free};
    freed = 0;
    chunk_copy(&q, "ab", 2);
    chunk_copy(&q, "c", 1);
    chunk_add(&q, &piece);
    assert_int_equal(chunk_vector(&q, v, 4), 2);
    assert_int_equal(chunk_vector(&q, v, 1), 1);
    chunk_taken(&q, 3);
    assert_int_equal(chunk_vector(&q, v, 4), 0);
    chunk_clear(&q);
    assert_int_equal(freed, 1);
    assert_int_equal(q.n, 0);
}

static void test_file_that_shrank(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    struct chunk_queue q = {0};
    struct chunk piece = {.n = 4, .fd = fileno(file)};
    char out[8];
    chunk_add(&q, &piece);
    assert_int_equal(chunk_peek(&q, out, sizeof out), -1);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_partial_send),
        cmocka_unit_test(test_vector_stops_at_a_file),
        cmocka_unit_test(test_file_that_shrank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
