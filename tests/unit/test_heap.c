/* Memory that passes from thread to thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/base/heap.h"

#define BLOCKS  256
#define ROUNDS  20000
#define THREADS 4

static const size_t sizes[] = {0, 1, 63, 64, 65, 4000, 32768, 32769, 65536, 131072, 131073, 3000000};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

static void every_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        unsigned char *p = heap_zero(sizes[i]);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t at = 0; at < sizes[i]; at++) {
            assert_int_equal(p[at], 0);
        }
        memset(p, 0xff, sizes[i]);
        heap_free(p);
    }
    heap_free(NULL);
}

static void resized_blocks_keep_what_is_in_them(void **state)
{
    (void)state;
    unsigned char *p = NULL;

    for (size_t i = 1; i < SIZES; i++) {
        p = heap_resize(p, sizes[i]);
        assert_non_null(p);
        for (size_t at = 0; at < sizes[i - 1]; at++) {
            assert_int_equal(p[at], (unsigned char)at);
        }
        for (size_t at = 0; at < sizes[i]; at++) {
            p[at] = (unsigned char)at;
        }
    }
    p = heap_resize(p, 10);
    assert_int_equal(p[9], 9);
    heap_free(p);
}

static void too_much_is_refused(void **state)
{
    (void)state;
    volatile size_t most = SIZE_MAX - 8;

    assert_null(heap_alloc(most));
}

/* Each thread puts blocks where another one takes them. */
struct parcel {
    size_t n;
    unsigned char fill;
    unsigned char bytes[];
};

static _Atomic(struct parcel *) places[BLOCKS];
static _Atomic unsigned damaged;

static void open_parcel(struct parcel *p)
{
    for (size_t i = 0; p && i < p->n; i++) {
        if (p->bytes[i] != p->fill) {
            damaged++;
            break;
        }
    }
    heap_free(p);
}

static void *post(void *seed)
{
    uint32_t chance = (uint32_t)(uintptr_t)seed;

    for (int i = 0; i < ROUNDS; i++) {
        chance = chance * 1664525u + 1013904223u;
        size_t n = (size_t)1 << (chance >> 28);
        struct parcel *p = heap_alloc(sizeof(*p) + n);

        p->n = n;
        p->fill = (unsigned char)chance;
        memset(p->bytes, p->fill, n);
        open_parcel(atomic_exchange(&places[chance >> 8 & (BLOCKS - 1)], p));
    }
    return NULL;
}

static void blocks_pass_between_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, post, (void *)(i + 1));
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < BLOCKS; i++) {
        open_parcel(places[i]);
    }
    assert_int_equal(damaged, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),
        cmocka_unit_test(resized_blocks_keep_what_is_in_them),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(blocks_pass_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
