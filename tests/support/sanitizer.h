/* Programs whose tests need signals that a sanitizer takes for itself: it catches them before the engine
 * could. Such a build only checks that the program links. */
#ifndef TESTS_SUPPORT_SANITIZER_H
#define TESTS_SUPPORT_SANITIZER_H

#include <stdbool.h>

#ifdef __SANITIZE_ADDRESS__
#define ADDRESS_SANITIZED true
#else
#define ADDRESS_SANITIZED false
#endif
#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZED true
#else
#define THREAD_SANITIZED false
#endif

static void left_to_the_sanitizer(void **state)
{
    (void)state;
    skip();
}

static const struct CMUnitTest left_to_sanitizer[] = {cmocka_unit_test(left_to_the_sanitizer)};

/* What main() returns. tests: an array. */
#define run_unless_sanitized(sanitized, tests)                                                               \
    ((sanitized) ? cmocka_run_group_tests(left_to_sanitizer, NULL, NULL)                                     \
                 : cmocka_run_group_tests(tests, NULL, NULL))

#endif
