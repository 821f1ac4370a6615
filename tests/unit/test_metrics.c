/* Blocks of counters: who has one, what of it outlives its process, and that sums are exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/work/metrics.h"

#define SLOTS  4
#define CLAIMS 3

static struct metrics *m;

static int make(void **state)
{
    (void)state;
    m = metrics_create(SLOTS, CLAIMS);
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
    struct metrics_block *claimed = metrics_claim(m, getpid());
    answered(metrics_slot(m, 2), "GET", 200, 50);
    answered(metrics_slot(m, 2), "POST", 302, 100);
    answered(claimed, "BREW", 418, 200);
    answered(claimed, NULL, 400, 1);
    answered(NULL, "GET", 200, 1); /* counted nowhere, and no harm */
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
}

static void times_of_a_worker(void **state)
{
    (void)state;
    struct request r = {.method = "GET", .status = 200};
    r.times = (struct request_times){
        .accepted = 10, .queued = 20, .started = 50, .php_started = 90, .script_done = 190, .finished = 150};
    metrics_add_request(metrics_slot(m, 0), &r, 200);
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
    struct metrics_block *blocks[CLAIMS];
    for (int i = 0; i < CLAIMS; i++) {
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
        for (int i = 0; i < CLAIMS; i++) {
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
    assert_int_equal(s.requests, CLAIMS);
    assert_int_equal(s.events[EVENT_H2_STREAM], 2 * CLAIMS);
    assert_non_null(metrics_claim(m, getpid()));
    assert_non_null(metrics_claim(m, getpid()));
    assert_null(metrics_claim(m, getpid()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_exact, make, unmake),
        cmocka_unit_test_setup_teardown(times_of_a_worker, make, unmake),
        cmocka_unit_test_setup_teardown(blocks_are_never_shared, make, unmake),
        cmocka_unit_test_setup_teardown(a_dead_process_leaves_its_counts, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
