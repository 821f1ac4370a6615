/* Error pages and added fields of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/content/added_fields.h"
#include "http/content/error_pages.h"
#include "http/http_settings.h"

static char dir[64];

static void put(const char *name, const char *text, size_t n)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
}

static int make(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test_errors.XXXXXX");
    assert_non_null(mkdtemp(dir));
    put("404.html", "<p>lost", 7);
    put("5xx.html", "<p>broken", 9);
    put("503.html", "<p>busy", 7);
    put("405.html", "", 0);
    put("600.html", "no", 2);
    put("40a.html", "no", 2);
    put("notes.txt", "no", 2);
    char *large = calloc(1, 300 * 1024);
    put("410.html", large, 300 * 1024);
    free(large);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

/* "content type: body" of an error's answer; accept NULL: no such field. */
static const char *page(struct error_pages *pages, int status, const char *method, const char *accept)
{
    static char text[4096];
    struct arena *arena = arena_create(65536);
    struct http_head head = {.method = str_of(method)};
    if (accept != NULL) {
        head.fields[head.field_count++] = (struct http_field){STR("accept"), str_of(accept)};
    }
    struct http_answer out = {.status = status};
    error_pages_fill(pages, &head, "id-7", arena, &out);
    if (out.field_count == 0) {
        strcpy(text, "nothing");
    } else {
        snprintf(text, sizeof(text), "%.*s: %.*s", (int)out.fields[0].value.n, out.fields[0].value.p,
                 out.piece_count > 0 ? (int)out.pieces[0].n : 0, out.piece_count > 0 ? out.pieces[0].p : "");
        assert_true(out.no_body == (strcmp(method, "HEAD") == 0));
        assert_true(out.no_body || out.body_n == out.pieces[0].n);
        assert_true(out.body_n > 0);
    }
    arena_destroy(arena);
    return text;
}

#define HTML  "text/html; charset=utf-8: "
#define PLAIN "text/plain; charset=utf-8: "

static void test_pages(void **state)
{
    (void)state;
    struct error_pages *pages = error_pages_load(dir);
    assert_string_equal(page(pages, 404, "GET", "text/html,*/*;q=0.8"), HTML "<p>lost");
    assert_string_equal(page(pages, 404, "GET", NULL), HTML "<p>lost");
    assert_string_equal(page(pages, 404, "GET", "*/*"), HTML "<p>lost");
    assert_string_equal(page(pages, 404, "HEAD", "*/*"), HTML);
    assert_string_equal(page(pages, 404, "GET", "application/json"), PLAIN "404 Not Found\n");
    assert_string_equal(page(pages, 404, "GET", "text/html;q=0, */*"), PLAIN "404 Not Found\n");
    assert_string_equal(page(pages, 404, "GET", "text/html;q=0.001"), HTML "<p>lost");
    assert_string_equal(page(pages, 500, "GET", NULL), HTML "<p>broken");
    assert_string_equal(page(pages, 599, "GET", NULL), HTML "<p>broken");
    assert_string_equal(page(pages, 503, "GET", NULL), HTML "<p>busy");
    assert_string_equal(page(pages, 405, "GET", "*/*"), PLAIN "405 Method Not Allowed\n");
    assert_string_equal(page(pages, 410, "GET", "*/*"), PLAIN "410 Gone\n");
    assert_non_null(strstr(page(pages, 410, "GET", "text/html"), "<h1>410</h1>"));
    assert_string_equal(page(pages, 200, "GET", "*/*"), "nothing");
    assert_string_equal(page(pages, 304, "GET", "*/*"), "nothing");
    assert_string_equal(page(pages, 600, "GET", "*/*"), "nothing");
    assert_null(error_pages_custom(pages, NULL, 403).p);
    assert_int_equal(error_pages_custom(pages, NULL, 404).n, 7);
    error_pages_destroy(pages);
}

static void test_no_pages(void **state)
{
    (void)state;
    struct error_pages *pages = error_pages_load(NULL);
    assert_string_equal(page(pages, 404, "GET", "*/*"), PLAIN "404 Not Found\n");
    assert_null(error_pages_custom(pages, NULL, 404).p);
    error_pages_destroy(pages);
    pages = error_pages_load("/nowhere/at/all");
    assert_non_null(pages);
    error_pages_destroy(pages);
    assert_string_equal(page(NULL, 503, "GET", "*/*"), PLAIN "503 Service Unavailable\nRequest id-7\n");
}

static void test_leaves_bodies_alone(void **state)
{
    (void)state;
    struct arena *arena = arena_create(65536);
    struct http_answer out = {.status = 404, .body_n = 3};
    error_pages_fill(NULL, NULL, "id-7", arena, &out);
    assert_int_equal(out.body_n, 3);
    assert_int_equal(out.field_count, 0);
    arena_destroy(arena);
}

static void test_added_fields(void **state)
{
    (void)state;
    struct http_settings settings = {.security_headers = true,
                                     .header_frame_options = (char *)"SAMEORIGIN",
                                     .header_content_type_options = (char *)"nosniff",
                                     .header_csp = (char *)"",
                                     .header_hsts = (char *)"max-age=1"};
    struct added_fields s;
    added_fields_init(&s, &settings);
    assert_int_equal(s.count, 3);
    struct http_answer out = {.status = 200};
    out.fields[out.field_count++] = (struct http_field){STR("x-frame-options"), STR("DENY")};
    added_fields_add(&s, false, &out);
    assert_int_equal(out.field_count, 2);
    assert_true(str_eq(out.fields[0].value, STR("DENY")));
    assert_true(str_eq(out.fields[1].name, STR("X-Content-Type-Options")));
    added_fields_add(&s, true, &out);
    assert_int_equal(out.field_count, 3);
    assert_true(str_eq(out.fields[2].name, STR("Strict-Transport-Security")));
    settings.security_headers = false;
    added_fields_init(&s, &settings);
    assert_int_equal(s.count, 0);
    assert_int_equal(added_fields_all(&s, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_no_pages),
        cmocka_unit_test(test_leaves_bodies_alone),
        cmocka_unit_test(test_added_fields),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
