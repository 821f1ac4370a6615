/* Who may see which page of the internal listener: refusals, which come before the pool is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/pages/internal_page.h"

static const struct internal_caller far = {.here = false}, near = {.here = true},
                                    near_by_address = {.here = true, .by_address = true};

/* The status that a request for path gets; "Host" is host. */
static int status_of(const char *path, const char *host, const char *token,
                     const struct internal_caller *caller)
{
    struct http_head head = {.method = STR("GET"), .path = str_of(path), .host = str_of(host)};
    struct buf out = {0};
    int status = 0;

    internal_page(NULL, &head, token, caller, &out);
    assert_int_equal(sscanf(out.p, "HTTP/1.1 %d", &status), 1);
    buf_free(&out);
    return status;
}

static void others_need_the_token(void **state)
{
    (void)state;
    assert_int_equal(status_of("/config", "example.org", NULL, &far), 403);
    assert_int_equal(status_of("/", "localhost", "", &far), 403);
    assert_int_equal(status_of("/none", "localhost", "", &far), 403);
    assert_int_equal(status_of("/", "example.org", "secret", &far), 401);
    assert_int_equal(status_of("/", "localhost", "secret", &near), 401);
    assert_int_equal(status_of("/none", "localhost", NULL, &near), 404);
}

static void names_that_are_not_ours(void **state)
{
    char own[256] = "";

    (void)state;
    assert_int_equal(gethostname(own, sizeof own - 1), 0);
    assert_int_equal(status_of("/none", own, NULL, &near_by_address), 404);
    assert_int_equal(status_of("/none", "localhost.", NULL, &near_by_address), 404);
    assert_int_equal(status_of("/none", "evil.example", NULL, &near_by_address), 421);
    assert_int_equal(status_of("/health", "evil.example", NULL, &near_by_address), 421);
    assert_int_equal(status_of("/", "evil.example", NULL, &near), 421);
}

static void a_profile_that_is_not_whole(void **state)
{
    const struct internal_profile profile = {.fd = -1, .format = PROFILE_FOLDED, .hz = 99};
    struct buf folded = {.limit = 20}, out = {0};

    (void)state;
    buf_text(&folded, "cpu;a 1\n");
    internal_page_profiled(&profile, &folded, &out);
    assert_non_null(strstr(out.p, "HTTP/1.1 200 "));
    assert_non_null(strstr(out.p, "cpu;a 1\n"));
    buf_free(&out);
    buf_text(&folded, "cpu;b;and;others 1\n");
    assert_true(folded.failed);
    internal_page_profiled(&profile, &folded, &out);
    assert_non_null(strstr(out.p, "HTTP/1.1 500 "));
    assert_null(strstr(out.p, "cpu;a"));
    buf_free(&out);
    buf_free(&folded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_need_the_token),
        cmocka_unit_test(names_that_are_not_ours),
        cmocka_unit_test(a_profile_that_is_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
