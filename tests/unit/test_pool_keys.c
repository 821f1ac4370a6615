/* A pool's keys: they change one by one, and go from process to process as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/supervise/pool_keys.h"

static void they_change_one_by_one(void **state)
{
    struct pool_keys keys, before;

    (void)state;
    pool_keys_make(&keys);
    before = keys;
    for (int i = 0; i < POOL_KEYS; i++) {
        for (int j = 0; j < i; j++) {
            assert_memory_not_equal(keys.key[i], keys.key[j], POOL_KEY_BYTES);
        }
    }
    pool_keys_rotate(&keys);
    for (int i = 1; i < POOL_KEYS; i++) {
        assert_memory_equal(keys.key[i], before.key[i - 1], POOL_KEY_BYTES);
    }
    assert_memory_not_equal(keys.key[0], before.key[0], POOL_KEY_BYTES);
}

static void as_text_and_back(void **state)
{
    struct pool_keys keys, read;
    char text[POOL_KEYS_TEXT];

    (void)state;
    pool_keys_make(&keys);
    pool_keys_write(&keys, text);
    assert_int_equal(strlen(text), POOL_KEYS_TEXT - 1);
    assert_true(pool_keys_read(&read, text));
    assert_memory_equal(&read, &keys, sizeof(keys));
    text[7] = 'g';
    assert_false(pool_keys_read(&read, text));
    text[7] = '\0';
    assert_false(pool_keys_read(&read, text));
    assert_false(pool_keys_read(&read, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_change_one_by_one),
                                       cmocka_unit_test(as_text_and_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
