/* Blocks of counters: who has one, what outlives its thread, and that sums are exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/telemetry/metrics.h"

static struct scoreboard *m;

static int make(void **state)
{
    struct pool_conf conf = {.name = (char *)(uintptr_t) "www", .s = {.max_children = 1}};
    (void)state;
    m = scoreboard_create(&conf);
    return m ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    scoreboard_destroy(m);
    return 0;
}

static struct metrics_sum sum(void)
{
    struct metrics_sum s = {0};
    for (uint32_t i = 0; i < m->numbers->blocks_used; i++) {
        metrics_merge(&s, &m->blocks[i]);
    }
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
    struct metrics_block *claimed = metrics_claim(m), *other = metrics_claim(m);
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
    assert_int_equal(metrics_counted(m, TOTAL_CRASHES), 2);
    assert_int_equal(metrics_counted(m, TOTAL_SLOW), 1);
    assert_int_equal(metrics_counted(m, TOTAL_EARLY), 0);
}

static void times_of_a_worker(void **state)
{
    (void)state;
    struct request r = {.method = "GET", .status = 200};
    r.times = (struct request_times){
        .accepted = 10, .queued = 20, .started = 50, .php_started = 90, .script_done = 190, .finished = 150};
    metrics_add_request(metrics_claim(m), &r, 200);
    struct metrics_sum s = sum();
    const uint64_t wanted[HISTOGRAM_COUNT] = {140, 30, 40, 100, 10}; /* finished early: 150 - 10 */
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        assert_int_equal(s.histograms[i].count, 1);
        assert_int_equal(s.histograms[i].sum_us, wanted[i]);
    }
}

static void counted_elsewhere(void **state)
{
    (void)state;
    struct request r = {.method = "GET", .status = 200, .body_sent = 9, .counted_elsewhere = true};
    r.times = (struct request_times){
        .accepted = 10, .queued = 20, .started = 50, .php_started = 90, .script_done = 190, .finished = 150};
    metrics_add_request(metrics_claim(m), &r, 200);
    struct metrics_sum s = sum();
    assert_int_equal(s.requests, 0);
    assert_int_equal(s.bytes_out, 0);
    assert_int_equal(s.methods[METHOD_GET], 0);
    assert_int_equal(s.statuses[200 - METRICS_STATUS_MIN], 0);
    assert_int_equal(s.histograms[HISTOGRAM_DURATION].count, 0);
    assert_int_equal(s.histograms[HISTOGRAM_SCRIPT].count, 1); /* which is known here alone */
    assert_int_equal(s.histograms[HISTOGRAM_SCRIPT].sum_us, 100);
}

static void blocks_are_never_shared(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < m->size.blocks; i++) {
        assert_ptr_equal(metrics_claim(m), &m->blocks[i]);
    }
    assert_null(metrics_claim(m));
    metrics_release(&m->blocks[7]);
    assert_ptr_equal(metrics_claim(m), &m->blocks[7]);
    assert_null(metrics_claim(m));
}

static void a_thread_that_ends_leaves_its_counts(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3 * m->size.blocks; i++) {
        struct metrics_block *block = metrics_claim(m);
        answered(block, "GET", 200, 1);
        atomic_fetch_add(&block->connections, 5);
        metrics_release(block);
    }
    metrics_release(NULL);
    assert_int_equal(sum().requests, 3 * m->size.blocks);
    assert_int_equal(sum().connections, 5); /* of the one block that all of them had */
    assert_int_equal(metrics_claim(m)->connections, 0);
}

/* Whoever can write a block can write anything; adding it up stays arithmetic. */
static void gauges_are_held_within_bounds(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct metrics_block *block = metrics_claim(m);
        block->connections = INT64_MAX;
        block->pending = INT64_MIN;
    }
    assert_int_equal(sum().connections, 4LL * INT32_MAX);
    assert_int_equal(sum().pending, 4LL * INT32_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_exact, make, unmake),
        cmocka_unit_test_setup_teardown(times_of_a_worker, make, unmake),
        cmocka_unit_test_setup_teardown(counted_elsewhere, make, unmake),
        cmocka_unit_test_setup_teardown(blocks_are_never_shared, make, unmake),
        cmocka_unit_test_setup_teardown(a_thread_that_ends_leaves_its_counts, make, unmake),
        cmocka_unit_test_setup_teardown(gauges_are_held_within_bounds, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
