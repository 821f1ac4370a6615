/* The samples of the last hour: by step, bounded, handed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/profile_format.h"
#include "engine/supervise/profile_hour.h"

#define NOW 1000000200u /* the middle of a step */

static struct profile_hour *hour;

static int set_up(void **state)
{
    (void)state;
    hour = profile_hour_create();
    return hour ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    profile_hour_free(hour);
    return 0;
}

/* What there is since then, each stack once. */
static const char *since(const struct profile_hour *of, uint64_t since_s)
{
    static struct buf out;
    struct buf lines = {0};
    profile_hour_write(of, since_s, &lines);
    buf_free(&out);
    buf_text(&out, "");
    profile_write((struct str){lines.p ? lines.p : "", lines.n}, PROFILE_FOLDED, 9, &out);
    buf_free(&lines);
    return out.n ? out.p : "";
}

static uint64_t samples(const char *text)
{
    struct str rest = str_of(text);
    struct profile_line line;
    uint64_t sum = 0;
    while (profile_next(&rest, &line)) {
        sum += line.count;
    }
    return sum;
}

static void test_adds_up(void **state)
{
    (void)state;
    profile_hour_add(hour, NOW, STR("cpu;GET_/;/a.php;main;work 2\nwait;GET_/;/a.php;sleep 1\n"));
    profile_hour_add(hour, NOW + 1, STR("cpu;GET_/;/a.php;main 4\ncpu;GET_/;/a.php;main;work 3\n"));
    assert_string_equal(since(hour, 0),
                        "cpu;GET_/;/a.php;main 4\ncpu;GET_/;/a.php;main;work 5\nwait;GET_/;/a.php;sleep 1\n");
}

static void test_steps(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        char line[64];
        profile_hour_add(hour, NOW + i * HOUR_STEP_S,
                         (struct str){line, (size_t)snprintf(line, sizeof line, "cpu;u;s;f%u 1\n", i)});
    }
    uint64_t last = NOW + 19 * HOUR_STEP_S;
    assert_int_equal(samples(since(hour, 0)), HOUR_STEPS);
    assert_int_equal(samples(since(hour, last - 3600)), HOUR_STEPS);
    assert_int_equal(samples(since(hour, last)), 1);
    assert_int_equal(samples(since(hour, last - HOUR_STEP_S)), 2);
    profile_hour_add(hour, NOW, STR("cpu;u;s;late 1\n")); /* the clock was set back: it is not believed */
    assert_null(strstr(since(hour, 0), "late"));
    profile_hour_add(hour, last + 100 * HOUR_STEP_S, STR("cpu;u;s;new 1\n"));
    assert_string_equal(since(hour, 0), "cpu;u;s;new 1\n");
}

static void test_what_is_no_sample(void **state)
{
    (void)state;
    struct buf wide = {0};
    profile_hour_add(hour, NOW,
                     STR("nothing\n\n;; 4\ncpu;\x1b[2J 1\ncpu;;a 2\ncpu 1\ncpu;u;s 18446744073709551615\n"));
    buf_text(&wide, "cpu");
    for (int i = 0; i < 5000; i++) {
        buf_text(&wide, ";f");
    }
    buf_text(&wide, " 7\n");
    profile_hour_add(hour, NOW, (struct str){wide.p, wide.n});
    buf_free(&wide);
    const char *text = since(hour, 0);
    assert_null(strstr(text, "\x1b"));
    assert_non_null(strstr(text, "cpu 1\n"));
    assert_true(samples(text) > 7);
}

static void test_more_urls_than_have_a_place(void **state)
{
    struct buf lines = {0};
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        buf_printf(&lines, "cpu;GET_/%u;/a.php;main;work 1\n", i);
    }
    profile_hour_add(hour, NOW, (struct str){lines.p, lines.n});
    const char *text = since(hour, 0);
    assert_int_equal(samples(text), 20000);
    assert_non_null(strstr(text, "cpu;(other URLs);/a.php;main;work "));
    assert_null(strstr(text, "(other stacks)"));
    buf_free(&lines);
}

static void test_more_stacks_than_have_a_place(void **state)
{
    struct buf lines = {0};
    (void)state;
    for (unsigned step = 0; step < 30; step++) {
        lines.n = 0;
        for (unsigned i = 0; i < 6000; i++) {
            buf_printf(&lines, "cpu;GET_/;/a.php;f%u_%u 1\n", step, i);
        }
        profile_hour_add(hour, NOW + step * HOUR_STEP_S, (struct str){lines.p, lines.n});
    }
    const char *text = since(hour, 0);
    assert_int_equal(samples(text), 6000 * HOUR_STEPS);
    assert_non_null(strstr(text, "(other stacks)"));
    assert_non_null(strstr(text, "f29_1 1\n")); /* names of steps that are over made way */
    buf_free(&lines);
}

/* Every step is told in full, however much text all of them are together. */
static void test_much_text(void **state)
{
    struct buf lines = {0}, frames = {0}, out = {0};
    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        buf_printf(&frames, "A\\Framework\\Handler::handle%u;", i);
    }
    for (unsigned step = 0; step < HOUR_STEPS; step++) {
        lines.n = 0;
        for (unsigned i = 0; i < 900; i++) {
            buf_printf(&lines, "cpu;GET_/;/a.php;%sf%u_%u 1\n", frames.p, step, i);
        }
        profile_hour_add(hour, NOW + step * HOUR_STEP_S, (struct str){lines.p, lines.n});
    }
    profile_hour_write(hour, 0, &out);
    assert_false(out.failed);
    assert_true(out.n > 12u << 20);
    assert_null(strstr(out.p, "(other stacks)"));
    buf_free(&out);
    out.limit = 4u << 20; /* what may not be written counts all the same */
    profile_hour_write(hour, 0, &out);
    assert_false(out.failed);
    assert_int_equal(samples(out.p), 900 * HOUR_STEPS);
    buf_free(&out);
    buf_free(&frames);
    buf_free(&lines);
}

/* Names that whoever is profiled has chosen so that they are all looked for at one place. */
static void test_names_that_collide(void **state)
{
    struct buf lines = {0};
    unsigned found = 0;
    (void)state;
    for (unsigned i = 0; found < 200; i++) {
        char name[16];
        struct str text = {name, (size_t)snprintf(name, sizeof name, "n%u", i)};
        if (hash_str(text, 0) % (2 * HOUR_NAMES) == 7) {
            buf_printf(&lines, "cpu;u;s;%s 1\n", name);
            found++;
        }
    }
    profile_hour_add(hour, NOW, (struct str){lines.p, lines.n});
    const char *text = since(hour, 0);
    assert_int_equal(samples(text), 200);
    struct str rest = str_of(text);
    struct profile_line line;
    for (found = 0; profile_next(&rest, &line);) {
        found++;
    }
    assert_in_range(found, 10, 50); /* the others are one: nobody looks for them for long */
    assert_non_null(strstr(text, "(other stacks)"));
    buf_free(&lines);
}

/* A machine that began with a clock of the future. */
static void test_clock_that_was_wrong(void **state)
{
    (void)state;
    profile_hour_add(hour, NOW + 1000 * 3600, STR("cpu;u;s;early 5\n"));
    profile_hour_add(hour, NOW, STR("cpu;u;s;f 2\n"));
    assert_int_equal(samples(since(hour, 0)), 2);
    profile_hour_add(hour, NOW + HOUR_STEP_S, STR("cpu;u;s;f 2\n"));
    assert_int_equal(samples(since(hour, 0)), 4);
}

static void test_handed_on(void **state)
{
    struct buf saved = {0};
    struct profile_hour *next = profile_hour_create();
    (void)state;
    for (unsigned i = 0; i < 15; i++) {
        profile_hour_add(hour, NOW + i * HOUR_STEP_S, STR("cpu;u;s;f 1\nwait;u;s;g;h 3\n"));
    }
    uint64_t now = NOW + 15 * HOUR_STEP_S;
    profile_hour_save(hour, &saved);
    profile_hour_load(next, now, (struct str){saved.p, saved.n});
    assert_int_equal(samples(since(next, 0)), 4 * (HOUR_STEPS - 1)); /* the first of them is over */
    assert_int_equal(samples(since(next, now - HOUR_STEP_S)), 4);
    for (size_t cut = 0; cut < saved.n; cut += 7) { /* damage */
        struct profile_hour *some = profile_hour_create();
        saved.p[cut] ^= 4;
        profile_hour_load(some, now, (struct str){saved.p, cut});
        profile_hour_free(some);
    }
    profile_hour_free(next);
    buf_free(&saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_adds_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_sample, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_urls_than_have_a_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_stacks_than_have_a_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_much_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_that_collide, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clock_that_was_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_handed_on, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
