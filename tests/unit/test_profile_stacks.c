/* Stacks of a profile as lines, of which there is a bounded number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/profile_format.h"
#include "engine/work/profile_stacks.h"

static struct profile_stacks *all;
static struct call_stack stack;
static struct buf out;

static int set_up(void **state)
{
    (void)state;
    all = calloc(1, sizeof *all);
    stack = (struct call_stack){0};
    return all ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    profile_stacks_free(all);
    free(all);
    buf_free(&out);
    return 0;
}

/* Innermost first, as the executor has them. */
static void call(const char *name)
{
    size_t n = strlen(name);
    stack.at[stack.count] = (uint16_t)stack.text_n;
    stack.size[stack.count++] = (uint16_t)n;
    memcpy(stack.text + stack.text_n, name, n);
    stack.text_n += n;
}

static void add(const char *uri, bool slept)
{
    profile_stacks_add(all,
                       &(struct profile_sample){
                           .slept = slept, .method = "GET", .uri = uri, .script = "/a.php", .stack = &stack},
                       1);
}

/* Each once, in order. */
static const char *told(void)
{
    struct buf lines = {0};
    profile_stacks_write(all, &lines);
    out.n = 0;
    profile_write((struct str){lines.p ? lines.p : "", lines.n}, PROFILE_FOLDED, 9, &out);
    buf_free(&lines);
    return out.p;
}

static void test_lines(void **state)
{
    (void)state;
    call("inner");
    call("A::outer");
    add("/x", false);
    add("/x", false);
    add("/x", true);
    assert_string_equal(told(), "cpu;GET_/x;/a.php;A::outer;inner 2\nwait;GET_/x;/a.php;A::outer;inner 1\n");
}

static void test_names_cannot_break_lines(void **state)
{
    (void)state;
    call("{closure:/a b;c\n9:\x1b[2J\xc2\x9b}");
    add("/x;y z\r", false);
    assert_string_equal(told(), "cpu;GET_/x_y_z?;/a.php;{closure:/a_b_c?9:?[2J\xc2?} 1\n");
}

static void test_what_was_not_seen(void **state)
{
    (void)state;
    stack.outside = true;
    add(NULL, false);
    stack.outside = false;
    stack.cut = true;
    call("f");
    add("/x", false);
    assert_string_equal(told(),
                        "cpu;GET_-;/a.php;(begin_and_end) 1\ncpu;GET_/x;/a.php;(outer_functions);f 1\n");
}

/* What is innermost is what takes the time. */
static void test_a_long_line(void **state)
{
    (void)state;
    char name[190];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "f%d_%0150d", i, 7);
        call(name);
    }
    add("/x", false);
    const char *text = told();
    assert_true(strlen(text) < 4096);
    assert_non_null(strstr(text, "(outer_functions);f"));
    assert_non_null(strstr(text, ";f1_"));
    assert_non_null(strstr(text, ";f0_"));
    assert_null(strstr(text, "f39_"));
}

static unsigned lines_of(const char *text, uint64_t *samples)
{
    struct str rest = str_of(text);
    struct profile_line line;
    unsigned n = 0;
    for (*samples = 0; profile_next(&rest, &line); n++) {
        *samples += line.count;
    }
    return n;
}

static void test_more_urls_than_have_a_place(void **state)
{
    char uri[32];
    uint64_t samples;
    (void)state;
    call("f");
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(uri, sizeof uri, "/%u", i);
        add(uri, false);
    }
    assert_true(lines_of(told(), &samples) < PROFILE_STACKS_MAX);
    assert_int_equal(samples, 20000);
    assert_non_null(strstr(told(), "cpu;GET_(other_URLs);/a.php;f "));
    assert_null(strstr(told(), "(other stacks)"));
}

static void test_more_stacks_than_have_a_place(void **state)
{
    char name[32];
    uint64_t samples;
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        stack.count = 0;
        stack.text_n = 0;
        snprintf(name, sizeof name, "f%u", i);
        call(name);
        add("/", false);
    }
    assert_int_equal(lines_of(told(), &samples), PROFILE_STACKS_MAX + 1);
    assert_int_equal(samples, 20000);
    assert_non_null(strstr(told(), "cpu;(other stacks) "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_cannot_break_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_was_not_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_long_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_urls_than_have_a_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_stacks_than_have_a_place, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
