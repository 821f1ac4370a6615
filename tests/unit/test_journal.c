/* Lines of engine processes for the server's log: whole, bounded, and the word of a peer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/supervise/journal.h"
#include "tests/support/log_pipe.h"

static struct journal *journal;

static int set_up(void **state)
{
    (void)state;
    journal = journal_create();
    return journal && log_pipe_open() == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    journal_destroy(journal);
    log_pipe_close();
    return 0;
}

static const char *fed(const char *text)
{
    char copy[256];
    size_t n = strlen(text);
    memcpy(copy, text, n);
    journal_feed(journal, copy, n);
    return log_pipe_read();
}

static void lines_are_whole(void **state)
{
    (void)state;
    assert_string_equal(fed("[date] NOTICE: one\n"), "[date] NOTICE: one\n");
    assert_string_equal(fed("two"), "");
    assert_string_equal(fed(" and more\nthree\nfo"), "two and more\nthree\n");
    assert_string_equal(fed("ur\n\n\nfive\n"), "four\nfive\n");
}

static void controls_are_blanks(void **state)
{
    (void)state;
    assert_string_equal(fed("a\x1b[2Jb\x7f\r\tc\n"), "a [2Jb  \tc\n");
    char with_nul[] = {'a', '\0', 'b', '\n'};
    journal_feed(journal, with_nul, sizeof(with_nul));
    assert_string_equal(log_pipe_read(), "a b\n");
}

static void a_line_without_end_is_cut(void **state)
{
    char piece[1000];
    size_t said = 0;
    (void)state;
    for (int i = 0; i < 200; i++) {
        memset(piece, 'x', sizeof(piece));
        journal_feed(journal, piece, sizeof(piece));
        said += strlen(log_pipe_read());
    }
    assert_in_range(said, 100000, 200100);
}

static void what_has_no_end_is_said_at_the_end(void **state)
{
    int fds[2];
    (void)state;
    assert_int_equal(journal_pipe(fds), 0);
    assert_true(journal_read(journal, fds[0], 4));
    assert_int_equal(write(fds[1], "one\ntw", 6), 6);
    assert_true(journal_read(journal, fds[0], 4));
    assert_string_equal(log_pipe_read(), "one\n");
    assert_int_equal(write(fds[1], "o", 1), 1);
    close(fds[1]);
    assert_false(journal_read(journal, fds[0], 4));
    assert_string_equal(log_pipe_read(), "two\n");
    close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_are_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(controls_are_blanks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_without_end_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_end_is_said_at_the_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
