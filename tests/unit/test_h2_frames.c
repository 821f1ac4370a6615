/* Heads of DATA frames in bytes that come in any pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/wire/h2_frames.h"

static const char bytes[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                            "\0\0\0\4\0\0\0\0\0"          /* SETTINGS */
                            "\0\0\3\1\5\0\0\0\1abc"       /* HEADERS of 1 */
                            "\0\0\2\0\0\0\0\0\1xy"        /* DATA of 1 */
                            "\0\0\0\0\1\200\0\0\1"        /* an empty one; its reserved bit is set */
                            "\0\0\0\0\1\177\377\377\377"; /* the highest stream */

static void test_every_piece(void **state)
{
    (void)state;
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct h2_frames f = {.left = H2_PREFACE_BYTES};
        int32_t found[4], count = 0, id;
        for (size_t at = 0, n = sizeof bytes - 1; at < n;) {
            size_t give = n - at < step ? n - at : step;
            size_t took = h2_frames_next_data(&f, bytes + at, give, &id);
            assert_in_range(took, 1, give);
            assert_true(id >= 0 || took == give);
            at += took;
            if (id >= 0) {
                assert_in_range(count, 0, 2);
                found[count++] = id;
            }
        }
        assert_int_equal(count, 3);
        assert_int_equal(found[0], 1);
        assert_int_equal(found[1], 1);
        assert_int_equal(found[2], INT32_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_piece)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
