/* Blocks of counters: who has one, what of it outlives its process, and that sums are exact. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/telemetry/metrics.h"

#define BLOCKS 3

static struct metrics *m;

static int make(void **state)
{
    (void)state;
    m = metrics_create(BLOCKS);
    return m ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    metrics_destroy(m);
    return 0;
}

static struct metrics_sum sum(void)
{
    struct metrics_sum s;
    memset(&s, 0, sizeof s);
    metrics_merge(&s, m);
    return s;
}

static void answered(struct metrics_block *block, const char *method, int status, uint64_t us)
{
    struct request r = {.method = method, .status = status, .body_sent = 10, .body_read = 3};
    r.times.accepted = 1000;
    metrics_add_request(block, &r, 1000 + us);
}

static void sums_are_exact(void **state)
{
    (void)state;
    struct metrics_block *claimed = metrics_claim(m, getpid()), *other = metrics_claim(m, getpid());
    answered(other, "GET", 200, 50);
    answered(other, "POST", 302, 100);
    answered(claimed, "BREW", 418, 200);
    answered(claimed, NULL, 400, 1);
    answered(NULL, "GET", 200, 1); /* counted nowhere, and no harm */
    metrics_count(m, TOTAL_CRASHES, 2);
    metrics_count(m, TOTAL_SLOW, 1);
    struct metrics_sum s = sum();
    assert_int_equal(s.requests, 4);
    assert_int_equal(s.bytes_out, 40);
    assert_int_equal(s.bytes_in, 12);
    assert_int_equal(s.methods[METHOD_GET], 1);
    assert_int_equal(s.methods[METHOD_POST], 1);
    assert_int_equal(s.methods[METHOD_OTHER], 2);
    assert_int_equal(s.statuses[418 - METRICS_STATUS_MIN], 1);
    assert_int_equal(s.histograms[HISTOGRAM_DURATION].count, 4);
    assert_int_equal(s.histograms[HISTOGRAM_DURATION].sum_us, 351);
    assert_int_equal(s.histograms[HISTOGRAM_QUEUE].count, 0);
    assert_int_equal(s.histograms[HISTOGRAM_SCRIPT].count, 0);
    assert_int_equal(s.totals[TOTAL_CRASHES], 2);
    assert_int_equal(s.totals[TOTAL_SLOW], 1);
    assert_int_equal(s.totals[TOTAL_EARLY], 0);
}

static void times_of_a_worker(void **state)
{
    (void)state;
    struct request r = {.method = "GET", .status = 200};
    r.times = (struct request_times){
        .accepted = 10, .queued = 20, .started = 50, .php_started = 90, .script_done = 190, .finished = 150};
    metrics_add_request(metrics_claim(m, getpid()), &r, 200);
    struct metrics_sum s = sum();
    const uint64_t wanted[HISTOGRAM_COUNT] = {140, 30, 40, 100, 10}; /* finished early: 150 - 10 */
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        assert_int_equal(s.histograms[i].count, 1);
        assert_int_equal(s.histograms[i].sum_us, wanted[i]);
    }
}

static void blocks_are_never_shared(void **state)
{
    (void)state;
    struct metrics_block *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = metrics_claim(m, getpid());
        assert_non_null(blocks[i]);
        for (int j = 0; j < i; j++) {
            assert_ptr_not_equal(blocks[i], blocks[j]);
        }
    }
    assert_null(metrics_claim(m, getpid()));
}

static void a_dead_process_leaves_its_counts(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < BLOCKS; i++) {
            struct metrics_block *block = metrics_claim(m, getpid());
            answered(block, "GET", 200, 1);
            atomic_fetch_add(&block->connections, 5);
            atomic_fetch_add(&block->events[EVENT_H2_STREAM], 2);
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
    assert_int_equal(sum().connections, 15);
    /* Nobody reaped it: a claim finds out by itself, and that gauge is gone. */
    assert_non_null(metrics_claim(m, getpid()));
    assert_int_equal(sum().connections, 10);
    metrics_reap(m, child);
    struct metrics_sum s = sum();
    assert_int_equal(s.connections, 0);
    assert_int_equal(s.requests, BLOCKS);
    assert_int_equal(s.events[EVENT_H2_STREAM], 2 * BLOCKS);
    assert_non_null(metrics_claim(m, getpid()));
    assert_non_null(metrics_claim(m, getpid()));
    assert_null(metrics_claim(m, getpid()));
}

static void a_thread_that_ends_leaves_its_counts(void **state)
{
    (void)state;
    for (int i = 0; i < 10 * BLOCKS; i++) {
        struct metrics_block *block = metrics_claim(m, getpid());
        answered(block, "GET", 200, 1);
        metrics_release(block);
    }
    metrics_release(NULL);
    assert_int_equal(sum().requests, 10 * BLOCKS);
}

/* Another image: its own view, more blocks, and processes of the first one that still count. */
static void an_heir_goes_on(void **state)
{
    (void)state;
    struct metrics_block *old = metrics_claim(m, getpid());
    answered(old, "GET", 200, 1);
    pid_t child = fork();
    if (child == 0) {
        answered(metrics_claim(m, getpid()), "GET", 200, 1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    metrics_count(m, TOTAL_SWAPS, 7);
    struct metrics *first = m;
    m = metrics_inherit(dup(first->fd), 2 * BLOCKS);
    assert_non_null(m);
    assert_int_equal(m->count, 2 * BLOCKS + 1); /* the child's block is free, ours is not */
    assert_int_equal(m->shared->start_wall_us, first->shared->start_wall_us);
    assert_int_equal(sum().requests, 2);
    assert_int_equal(sum().totals[TOTAL_SWAPS], 7);
    answered(old, "POST", 200, 1);
    for (int i = 0; i < 2 * BLOCKS; i++) {
        struct metrics_block *block = metrics_claim(m, getpid());
        assert_non_null(block);
        answered(block, "GET", 200, 1);
    }
    assert_null(metrics_claim(m, getpid()));
    assert_int_equal(sum().requests, 3 + 2 * BLOCKS);
    struct metrics_sum seen = {0};
    metrics_merge(&seen, first); /* as far as it reaches */
    assert_in_range(seen.requests, 3, 3 + 2 * BLOCKS - 1);
    metrics_destroy(first);
    assert_int_equal(sum().requests, 3 + 2 * BLOCKS);
    metrics_reap(m, getpid());
    struct metrics *third = metrics_inherit(dup(m->fd), BLOCKS); /* never fewer than there are */
    assert_int_equal(third->count, 2 * BLOCKS + 1);
    metrics_destroy(third);
}

static void refused(int fd)
{
    errno = 0;
    assert_null(metrics_inherit(fd, 1));
    assert_int_equal(errno, EPROTO);
    close(fd);
}

static void a_stranger_s_memory_is_refused(void **state)
{
    (void)state;
    refused(memfd_create("empty", 0));
    int fd = memfd_create("zeroes", 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    refused(fd);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    refused(ends[0]);
    close(ends[1]);
    m->shared->layout[strlen(m->shared->layout) - 1] ^= 1; /* one bucket more, or less */
    refused(dup(m->fd));
    assert_null(metrics_inherit(-1, 1));
    assert_int_equal(errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_exact, make, unmake),
        cmocka_unit_test_setup_teardown(times_of_a_worker, make, unmake),
        cmocka_unit_test_setup_teardown(blocks_are_never_shared, make, unmake),
        cmocka_unit_test_setup_teardown(a_dead_process_leaves_its_counts, make, unmake),
        cmocka_unit_test_setup_teardown(a_thread_that_ends_leaves_its_counts, make, unmake),
        cmocka_unit_test_setup_teardown(an_heir_goes_on, make, unmake),
        cmocka_unit_test_setup_teardown(a_stranger_s_memory_is_refused, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
