/* The scoreboard: claiming, reading while a worker writes, what a dead process leaves. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/engine_settings.h"
#include "engine/telemetry/metrics.h"
#include "engine/telemetry/scoreboard.h"
#include "engine/telemetry/server.h"

static struct scoreboard *make(int children)
{
    struct pool_conf conf = {.name = (char *)(uintptr_t) "www"};

    conf.s.max_children = children;
    conf.s.processes = 1;
    conf.s.pm = PM_STATIC;
    struct scoreboard *board = scoreboard_create(&conf, -1);

    assert_non_null(board);
    return board;
}

/* Resident pages of a board that nobody used: it must cost addresses, not memory. */
static void huge_is_cheap(void **state)
{
    struct scoreboard *board = make(12800);
    uint32_t idle, active, total;

    (void)state;
    assert_true(board->slot_count >= 25600);
    scoreboard_count(board, &idle, &active, &total);
    assert_int_equal(total, 0);
    assert_int_equal(scoreboard_claim(board, getpid(), 1), 0);
    assert_int_equal(scoreboard_claim(board, getpid(), 1), 1);
    assert_int_equal(board->slots_used, 2);
    scoreboard_release(board, 0);
    assert_int_equal(scoreboard_claim(board, getpid(), 1), 0); /* the lowest free one */
    scoreboard_destroy(board);
}

/* To everybody else; a pool all of whose workers look for work at this moment serves. */
static void a_worker_that_looks_is_idle(void **state)
{
    struct scoreboard *board = make(4);
    struct scoreboard_slot copy;
    struct buf page = {0};
    uint32_t idle, active, total;

    (void)state;
    assert_int_equal(server_pool_health(board), POOL_DOWN);
    board->others_serve = true; /* processes that outlived a reload */
    assert_int_equal(server_pool_health(board), POOL_OK);
    board->others_serve = false;
    assert_int_equal(server_pool_health(board), POOL_DOWN);
    for (int i = 0; i < 4; i++) {
        board->slots[scoreboard_claim(board, getpid(), 1)].state = WORKER_LOOKING;
    }
    assert_int_equal(server_pool_health(board), POOL_OK);
    assert_int_equal(scoreboard_state(board, 3), WORKER_IDLE);
    assert_true(scoreboard_read(board, 3, &copy));
    assert_int_equal(copy.state, WORKER_IDLE);
    scoreboard_count(board, &idle, &active, &total);
    assert_int_equal(idle, 4);
    metrics_render(&board, 1, clock_wall_us(), false, &page);
    buf_add(&page, "", 1);
    assert_non_null(strstr(page.p, "tokio_php_workers{pool=\"www\",state=\"Idle\"} 4\n"));
    buf_free(&page);
    scoreboard_destroy(board);
}

static void counts_as_php_fpm(void **state)
{
    struct scoreboard *board = make(10);
    uint32_t idle, active, total;

    (void)state;
    for (int i = WORKER_CREATING; i <= WORKER_LOST; i++) {
        int slot = scoreboard_claim(board, getpid(), 1);

        board->slots[slot].state = i;
    }
    scoreboard_count(board, &idle, &active, &total);
    assert_int_equal(idle, 1);
    assert_int_equal(active, 6);
    assert_int_equal(total, 7);
    scoreboard_destroy(board);
}

static void full_says_no(void **state)
{
    struct scoreboard *board = make(1);
    int claimed = 0;

    (void)state;
    while (scoreboard_claim(board, getpid(), 1) >= 0) {
        claimed++;
    }
    assert_int_equal(claimed, board->slot_count);
    scoreboard_destroy(board);
}

static void long_texts_are_cut(void **state)
{
    struct scoreboard *board = make(1);
    struct scoreboard_slot copy;
    char text[2000];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    int slot = scoreboard_claim(board, getpid(), 3);

    scoreboard_describe(&board->slots[slot], &(struct scoreboard_texts){
                                                 .method = text, .uri = text, .query = text, .script = text});
    assert_true(scoreboard_read(board, (uint32_t)slot, &copy));
    assert_int_equal(strlen(copy.method), 15);
    assert_int_equal(strlen(copy.uri), 127);
    assert_int_equal(strlen(copy.query), 511);
    assert_int_equal(strlen(copy.script), 255);
    assert_string_equal(copy.user, "");
    assert_int_equal(copy.generation, 3);
    scoreboard_describe(&board->slots[slot], &(struct scoreboard_texts){.uri = "/b"});
    assert_true(scoreboard_read(board, (uint32_t)slot, &copy));
    assert_string_equal(copy.uri, "/b");
    assert_string_equal(copy.method, "");
    scoreboard_destroy(board);
}

static _Atomic bool stop;

static void *writer(void *arg)
{
    struct scoreboard_slot *slot = arg;

    for (int i = 0; !stop; i++) {
        const char *text = i % 2 ? "/aaaaaaaaaaaaaaaaaaaaaaaa" : "/bbbbbbbbbbbbbbbbbbbbbbbb";

        scoreboard_describe(slot, &(struct scoreboard_texts){.uri = text, .script = text});
    }
    return NULL;
}

static void never_half_a_text(void **state)
{
    struct scoreboard *board = make(1);
    struct scoreboard_slot copy;
    pthread_t thread;
    int slot = scoreboard_claim(board, getpid(), 1), seen = 0;

    (void)state;
    stop = false;
    assert_int_equal(pthread_create(&thread, NULL, writer, &board->slots[slot]), 0);
    /* Until enough was seen: on a busy machine the writer may come late. */
    for (int i = 0; i < 20000 || (seen < 100 && i < 50000000); i++) {
        assert_true(scoreboard_read(board, (uint32_t)slot, &copy));
        assert_string_equal(copy.uri, copy.script);
        seen += copy.uri[0] != '\0';
    }
    stop = true;
    pthread_join(thread, NULL);
    assert_true(seen > 0);
    scoreboard_destroy(board);
}

/* A process that died in the middle of writing does not hold up the reader, and its slots come back. */
static void dead_process(void **state)
{
    struct scoreboard *board = make(2);
    struct scoreboard_slot copy;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        int slot = scoreboard_claim(board, getpid(), 1);

        board->slots[slot].sequence = 7;
        board->slots[slot].requests = 5;
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(scoreboard_read(board, 0, &copy));
    assert_int_equal(copy.requests, 5);
    assert_string_equal(copy.uri, "");
    scoreboard_reap(board, child);
    assert_false(scoreboard_read(board, 0, &copy));
    assert_int_equal(scoreboard_claim(board, getpid(), 2), 0);
    assert_int_equal(board->slots[0].requests, 0);
    scoreboard_destroy(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_is_cheap),
        cmocka_unit_test(counts_as_php_fpm),
        cmocka_unit_test(full_says_no),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(never_half_a_text),
        cmocka_unit_test(dead_process),
        cmocka_unit_test(a_worker_that_looks_is_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
