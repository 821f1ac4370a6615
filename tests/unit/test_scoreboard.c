/* The scoreboard: its size, and who has which slot. What a reader sees of it is test_view.c. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine_settings.h"
#include "engine/telemetry/scoreboard.h"

static struct scoreboard *make(int children)
{
    struct pool_conf conf = {.name = (char *)(uintptr_t) "www"};

    conf.s.max_children = children;
    conf.s.processes = 1;
    conf.s.pm = PM_STATIC;
    struct scoreboard *board = scoreboard_create(&conf);

    assert_non_null(board);
    return board;
}

/* A board that nobody used must cost addresses, not memory. */
static void huge_is_cheap(void **state)
{
    struct scoreboard *board = make(12800);
    struct stat st;

    (void)state;
    assert_true(board->size.slots >= 25600);
    assert_int_equal(scoreboard_workers(board), 0);
    assert_int_equal(scoreboard_claim(board), 0);
    assert_int_equal(scoreboard_claim(board), 1);
    assert_int_equal(board->numbers->slots_used, 2);
    scoreboard_release(board, 0);
    assert_int_equal(scoreboard_claim(board), 0); /* the lowest free one */
    assert_int_equal(scoreboard_workers(board), 2);
    assert_int_equal(fstat(board->fd, &st), 0);
    assert_true(st.st_size > 25600 * 1024);
    assert_true(st.st_blocks * 512 <= 64 << 10);
    scoreboard_destroy(board);
}

/* Nobody can move the end of the file under its reader. */
static void its_size_is_final(void **state)
{
    struct scoreboard *board = make(4);

    (void)state;
    assert_int_equal(ftruncate(board->fd, 0), -1);
    assert_int_equal(ftruncate(board->fd, 1 << 30), -1);
    assert_int_equal(fcntl(board->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    scoreboard_destroy(board);
}

static void full_says_no(void **state)
{
    struct scoreboard *board = make(1);
    int claimed = 0;

    (void)state;
    while (scoreboard_claim(board) >= 0) {
        claimed++;
    }
    assert_int_equal(claimed, board->size.slots);
    scoreboard_destroy(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_is_cheap),
        cmocka_unit_test(its_size_is_final),
        cmocka_unit_test(full_says_no),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
