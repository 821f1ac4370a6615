/* Views: what a reader sees of a board, also of one that an intruder writes. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/engine_settings.h"
#include "engine/telemetry/metrics_page.h"
#include "engine/telemetry/server_page.h"
#include "engine/telemetry/status.h"
#include "tests/support/board.h"

static struct pool_conf conf = {.name = (char *)(uintptr_t) "www", .s = {.max_children = 4, .pm = PM_STATIC}};
static struct pool_view past;
static struct scoreboard *board;

static int make(void **state)
{
    (void)state;
    board = scoreboard_create(&conf);
    pool_view_init(&past, &conf);
    return board ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    scoreboard_destroy(board);
    return 0;
}

static void put(enum worker_state state)
{
    board->slots[scoreboard_claim(board)].state = state;
}

/* -- counting -- */

/* Another process's board has a block for this pool: its answers count, nothing else of it does. */
static void what_others_count_for_it(void **state)
{
    struct scoreboard_size size = scoreboard_size(&conf, 2);
    struct scoreboard *other = scoreboard_open(scoreboard_file(size), size);
    struct board_source from = board_source(other);
    struct pool_view pool = past;

    (void)state;
    assert_non_null(other);
    struct metrics_block *block = &other->blocks[size.blocks + 1];
    block->requests = 7;
    block->connections = INT64_MAX;
    block->pending = -5;
    block->events[EVENT_RATE_LIMITED] = 2;
    for (uint32_t i = 0; i < 4; i++) { /* two are not there */
        pool_view_add_guest(&pool, &from, i);
    }
    assert_int_equal(pool.sum.requests, 7);
    assert_int_equal(pool.sum.events[EVENT_RATE_LIMITED], 2);
    assert_int_equal(pool.sum.connections, 0);
    assert_int_equal(pool.sum.pending, 0);
    while (metrics_claim(other)) { /* no thread gets a guest's */
    }
    assert_int_equal(block->claimed, 0);
    struct view *view = board_view(&past, other); /* nor are they the pool's own */
    assert_int_equal(view->pools->sum.requests, 0);
    view_free(view);
    scoreboard_destroy(other);
}

/* To everybody else; a pool all of whose workers look for work at this moment serves. */
static void a_worker_that_looks_is_idle(void **state)
{
    struct buf page = {0};
    struct view *view = board_view(&past, board);

    (void)state;
    assert_int_equal(pool_view_health(view->pools), POOL_DOWN);
    view_free(view);
    for (int i = 0; i < 4; i++) {
        put(WORKER_LOOKING);
    }
    view = board_view(&past, board);
    assert_int_equal(pool_view_health(view->pools), POOL_OK);
    assert_int_equal(view->workers[3].state, WORKER_IDLE);
    assert_int_equal(view->pools->idle, 4);
    metrics_render(view, false, &page);
    buf_add(&page, "", 1);
    assert_non_null(strstr(page.p, "tokio_php_workers{pool=\"www\",state=\"Idle\"} 4\n"));
    buf_free(&page);
    view_free(view);
}

static void counts_as_php_fpm(void **state)
{
    (void)state;
    for (int i = WORKER_CREATING; i <= WORKER_LOST; i++) {
        put((enum worker_state)i);
    }
    struct view *view = board_view(&past, board);
    struct board_source from = board_source(board);

    assert_int_equal(view->pools->idle, 1);
    assert_int_equal(view->pools->active, 6);
    assert_int_equal(view->worker_count, 9);
    assert_int_equal(board_workers(&from), 7);
    view_free(view);
}

/* Who only waits in a process that leaves is not there any more; who has a request is. */
static void a_process_that_drains(void **state)
{
    struct scoreboard *leaving = board;
    struct buf page = {0};
    const char *type;

    (void)state;
    put(WORKER_IDLE);
    put(WORKER_RUNNING);
    put(WORKER_PARKED);
    board = scoreboard_create(&conf);
    put(WORKER_IDLE);
    struct view *view = board_view(&past, board);
    struct board_source from = board_source(leaving);

    from.draining = true;
    view_add_board(view, &from);
    assert_int_equal(view->pools->idle, 1);
    assert_int_equal(view->pools->active, 1);
    assert_int_equal(view->pools->states[WORKER_PARKED], 0);
    assert_int_equal(view->worker_count, 4);
    status_render(view, view->pools, "full", &page, &type);
    buf_add(&page, "", 1);
    const char *first = strstr(page.p, "state:                Idle\n");
    assert_non_null(first);
    assert_null(strstr(first + 1, "state:                Idle\n"));
    assert_non_null(strstr(page.p, "state:                Running\n"));
    assert_null(strstr(page.p, "Parked"));
    buf_free(&page);
    view_free(view);
    scoreboard_destroy(leaving);
}

static void a_board_of_another_build(void **state)
{
    struct view *view = view_create(1);

    (void)state;
    view_add_pool(view, &past);
    view_add_board(view, &(struct board_source){.fd = -1, .process = 1});
    assert_int_equal(pool_view_health(view->pools), POOL_OK); /* it serves, whoever it is */
    assert_int_equal(view->worker_count, 0);
    view_free(view);
}

/* What a process has counted stays with its pool; gauges end with it, and php-fpm's numbers begin anew. */
static void what_a_process_leaves(void **state)
{
    struct board_source from = board_source(board);
    struct metrics_block *block = metrics_claim(board);
    struct metrics_facts facts = {.method = METHOD_POST, .status = 404, .bytes_in = 3, .times = {7}};

    (void)state;
    metrics_add(block, &facts);
    block->connections = 3;
    metrics_count(board, TOTAL_CRASHES, 2);
    board->numbers->accepted = 5;
    board->numbers->active_max = 3;
    struct view *view = board_view(&past, board);

    assert_int_equal(view->pools->sum.connections, 3);
    assert_int_equal(view->pools->accepted, 5);
    view_free(view);
    pool_view_keep(&past, &from);
    assert_int_equal(past.sum.connections, 0);
    assert_int_equal(past.sum.requests, 1);
    assert_int_equal(past.sum.methods[METHOD_POST], 1);
    assert_int_equal(past.sum.statuses[404 - METRICS_STATUS_MIN], 1);
    assert_int_equal(past.sum.histograms[HISTOGRAM_DURATION].count, 1);
    assert_int_equal(past.sum.totals[TOTAL_CRASHES], 2);
    assert_int_equal(past.accepted, 5);
    assert_int_equal(past.active_max, 3);
    from.inherited = true;
    pool_view_keep(&past, &from);
    assert_int_equal(past.sum.requests, 2);
    assert_int_equal(past.accepted, 5);
}

/* -- texts -- */

static void long_texts_are_cut(void **state)
{
    struct board_source from = board_source(board);
    struct worker_row row;
    char text[2000];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    int slot = scoreboard_claim(board);

    scoreboard_describe(&board->slots[slot], &(struct scoreboard_texts){
                                                 .method = text, .uri = text, .query = text, .script = text});
    assert_true(board_worker(&from, 0, &row));
    assert_int_equal(strlen(row.method), 15);
    assert_int_equal(strlen(row.uri), 127);
    assert_int_equal(strlen(row.query), 511);
    assert_int_equal(strlen(row.script), 255);
    assert_string_equal(row.user, "");
    assert_int_equal(row.generation, 3);
    scoreboard_describe(&board->slots[slot], &(struct scoreboard_texts){.uri = "/b"});
    assert_true(board_worker(&from, 0, &row));
    assert_string_equal(row.uri, "/b");
    assert_string_equal(row.method, "");
    assert_false(board_worker(&from, 1, &row));
    assert_false(board_worker(&from, board->size.slots, &row));
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
    struct board_source from = board_source(board);
    struct worker_row row;
    pthread_t thread;
    int slot = scoreboard_claim(board), seen = 0;

    (void)state;
    stop = false;
    assert_int_equal(pthread_create(&thread, NULL, writer, &board->slots[slot]), 0);
    /* Until enough was seen: on a busy machine the writer may come late. */
    for (int i = 0; i < 20000 || (seen < 100 && i < 50000000); i++) {
        assert_true(board_worker(&from, 0, &row));
        assert_string_equal(row.uri, row.script);
        seen += row.uri[0] != '\0';
    }
    stop = true;
    pthread_join(thread, NULL);
    assert_true(seen > 0);
}

/* A process that died in the middle of writing does not hold up the reader. */
static void dead_process(void **state)
{
    struct board_source from = board_source(board);
    struct worker_row row;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        int slot = scoreboard_claim(board);

        board->slots[slot].sequence = 7;
        board->slots[slot].requests = 5;
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(board_worker(&from, 0, &row));
    assert_int_equal(row.requests, 5);
    assert_string_equal(row.uri, "");
}

/* -- an intruder -- */

/* Every page and every sum, and that what must hold of a view does. */
static void look_at_everything(void)
{
    struct view *view = board_view(&past, board);
    struct board_source from = board_source(board);
    struct pool_view kept = past;
    struct buf page = {0};
    const char *type;

    assert_true(view->worker_count <= board->size.slots);
    assert_true(view->pools->idle + view->pools->active <= board->size.slots);
    assert_true(view->pools->active_max <= board->size.slots);
    assert_true(view->pools->opcache_used_percent <= 100);
    for (uint32_t i = 0; i < view->worker_count; i++) {
        const struct worker_row *row = &view->workers[i];

        assert_true(row->state > WORKER_FREE && row->state < WORKER_LOOKING);
        assert_true(row->start_wall_us <= clock_wall_us());
        assert_true(strnlen(row->query, sizeof(row->query)) < sizeof(row->query));
    }
    assert_true(board_workers(&from) <= board->size.slots);
    status_render(view, view->pools, "full&json", &page, &type);
    status_render(view, view->pools, "full", &page, &type);
    server_page_lines(view, &page);
    metrics_render(view, true, &page);
    assert_false(page.failed);
    buf_free(&page);
    int fd = view_save(view);
    struct view *copy = view_load(fd);

    assert_non_null(copy);
    assert_int_equal(copy->worker_count, view->worker_count);
    close(fd);
    view_free(copy);
    view_free(view);
    pool_view_keep(&kept, &from);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static size_t words(void)
{
    return scoreboard_block_at(board->size, 3) / sizeof(uint64_t);
}

/* Word by word: 0, 1, -1, an address, random. */
static void any_word_may_be_anything(void **state)
{
    uint64_t *word = (uint64_t *)(void *)board->numbers, seed = 88172645463325252ULL;
    size_t numbers = sizeof(*board->numbers) / sizeof(*word);

    (void)state;
    for (int i = 0; i < 4; i++) {
        put(WORKER_RUNNING);
    }
    metrics_claim(board);
    for (size_t i = 0; i < words(); i += i < numbers ? 1 : 61) { /* all numbers, and some of the rest */
        const uint64_t values[] = {0, 1, UINT64_MAX, (uintptr_t)board, next_random(&seed)};
        uint64_t was = word[i];

        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            word[i] = values[v];
            look_at_everything();
        }
        word[i] = was;
    }
}

static void every_word_may_be_anything(void **state)
{
    uint64_t *word = (uint64_t *)(void *)board->numbers, seed = 42;

    (void)state;
    for (int round = 0; round < 8; round++) {
        for (size_t i = 0; i < words(); i++) {
            word[i] = round == 0 ? UINT64_MAX : round == 1 ? 0x0101010101010101u : next_random(&seed);
        }
        look_at_everything();
    }
}

/* -- from process to process -- */

static void refused(int fd)
{
    errno = 0;
    assert_null(view_load(fd));
    assert_int_equal(errno, EPROTO);
    close(fd);
}

static int copy_of(int fd, size_t cut, size_t flip)
{
    static char bytes[1 << 20];
    ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
    int copy = memfd_create("copy", 0);

    assert_true(n > 0 && (size_t)n < sizeof(bytes));
    bytes[flip] ^= flip ? 1 : 0;
    assert_int_equal(write(copy, bytes, (size_t)n - cut), (ssize_t)((size_t)n - cut));
    return copy;
}

static void a_file_of_it(void **state)
{
    (void)state;
    put(WORKER_IDLE);
    struct view *view = board_view(&past, board);

    view->finishing = true;
    int fd = view_save(view);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1); /* nobody can change it any more */
    struct view *copy = view_load(fd);

    assert_true(copy->finishing && !copy->partial);
    assert_int_equal(copy->worker_count, 1);
    assert_memory_equal(copy->pools, view->pools, sizeof(*copy->pools));
    assert_memory_equal(copy->workers, view->workers, sizeof(*copy->workers));
    assert_non_null(view_find(copy, "www"));
    assert_null(view_find(copy, "ww"));
    refused(copy_of(fd, 1, 0));
    refused(copy_of(fd, 0, 3)); /* another layout */
    refused(memfd_create("empty", 0));
    close(fd);
    view_free(copy);
    view_free(view);
    view_free(NULL);
    assert_null(view_load(-1));
    assert_int_equal(errno, EBADF);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
    const struct CMUnitTest tests[] = {
        TEST(what_others_count_for_it), TEST(a_worker_that_looks_is_idle), TEST(counts_as_php_fpm),
        TEST(a_process_that_drains),    TEST(a_board_of_another_build),    TEST(what_a_process_leaves),
        TEST(long_texts_are_cut),       TEST(never_half_a_text),           TEST(dead_process),
        TEST(any_word_may_be_anything), TEST(every_word_may_be_anything),  TEST(a_file_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
