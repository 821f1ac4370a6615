/* Lines of the supervisor on the screen of `tokiophp top`: order, filter, window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/supervise/top_screen.h"

#define SERVER "server\t0.1\t1000000\t60\t0.10\t1000\t2000\n"
#define POOL   "pool\twww\tok\t5\t5\t0\t0\t0\t1\t0\t0\t0\t0\t0\t10\t4\nduration\n"
#define WORKERS                                                                                              \
    "worker\t7\t1\t0\t900\t1048576\t30\tIdle\tGET\t/idle.php\n"                                              \
    "worker\t7\t1\t1\t100\t9048576\t10\tRunning\tGET\t/short.php\n"                                          \
    "worker\t7\t1\t1\t5000\t2048576\t20\tRunning\tPOST\t/long.php\n"
#define SCRIPTS                                                                                              \
    "script\twww\t2\t3000\t2000\t0\t/srv/quick.php\t/quick.php\t\n"                                          \
    "script\twww\t4\t90000\t80000\t3\t/srv/slow.php\t/slow.php\tPHP Warning: oh\n"

static struct top_screen *take(enum top_order order, const char *filter)
{
    struct top_screen *s = calloc(1, sizeof *s);
    char *text = strdup(SERVER POOL WORKERS SCRIPTS);
    s->order = order;
    s->rows = 8;
    s->columns = 80;
    strcpy(s->filter, filter);
    top_screen_take(s, text);
    free(text);
    return s;
}

static int line_with(const struct top_screen *s, const char *text)
{
    for (int i = 0; i < s->line_count; i++) {
        if (strstr(s->lines[i].text, text)) {
            return i;
        }
    }
    return -1;
}

static void drop(struct top_screen *s)
{
    top_screen_clear(s);
    free(s);
}

static void test_order(void **state)
{
    (void)state;
    struct top_screen *s = take(TOP_BY_TIME, "");
    assert_true(line_with(s, "/long.php") < line_with(s, "/short.php"));
    assert_true(line_with(s, "/short.php") < line_with(s, "/idle.php"));
    drop(s);
    s = take(TOP_BY_MEMORY, "");
    assert_true(line_with(s, "/short.php") < line_with(s, "/long.php"));
    drop(s);
    s = take(TOP_BY_SERVED, "");
    assert_true(line_with(s, "/long.php") < line_with(s, "/short.php"));
    assert_true(line_with(s, "/short.php") < line_with(s, "/idle.php")); /* who runs stands first */
    drop(s);
}

static void test_scripts(void **state)
{
    (void)state;
    struct top_screen *s = take(TOP_BY_TIME, "");
    int slow = line_with(s, "SLOWEST"), errors = line_with(s, "ERRORS");
    assert_true(slow > line_with(s, "/idle.php") && errors > slow);
    assert_non_null(strstr(s->lines[slow + 1].text, "/srv/slow.php"));
    assert_non_null(strstr(s->lines[slow + 2].text, "/srv/quick.php"));
    assert_non_null(strstr(s->lines[errors + 1].text, "PHP Warning: oh"));
    assert_int_equal(errors + 2, s->line_count);
    drop(s);
}

static void test_filter(void **state)
{
    (void)state;
    struct top_screen *s = take(TOP_BY_TIME, "SLOW");
    assert_int_equal(line_with(s, "/long.php"), -1);
    assert_int_equal(line_with(s, "/srv/quick.php"), -1);
    assert_true(line_with(s, "/srv/slow.php") > 0);
    drop(s);
    s = take(TOP_BY_TIME, "nowhere");
    assert_int_equal(line_with(s, "SLOWEST"), -1);
    drop(s);
}

static void test_window(void **state)
{
    (void)state;
    struct top_screen *s = take(TOP_BY_TIME, "");
    top_screen_scroll(s, -1);
    assert_int_equal(s->offset, 0);
    top_screen_scroll(s, 3);
    assert_int_equal(s->offset, 3);
    top_screen_scroll(s, TOP_LINES_MAX);
    assert_int_equal(s->offset, s->line_count - 1 - (s->rows - 2));
    s->rows = 200; /* the terminal has grown */
    top_screen_scroll(s, 0);
    assert_int_equal(s->offset, 0);
    drop(s);
}

static void test_damaged_lines(void **state)
{
    (void)state;
    char text[] = "worker\nworker\t1\nscript\t\t\npool\n\nduration\t5\nserver\t1\n";
    struct top_screen *s = calloc(1, sizeof *s);
    top_screen_take(s, text);
    assert_int_equal(s->line_count, 0);
    drop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_scripts),
                                       cmocka_unit_test(test_filter), cmocka_unit_test(test_window),
                                       cmocka_unit_test(test_damaged_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
