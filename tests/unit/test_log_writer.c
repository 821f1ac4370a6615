/* The log's writer: whole lines, none lost without being counted, nobody waits for the reader. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/telemetry/log_writer.h"

#define THREADS 4
#define LINES   20000

static _Atomic int target;
static _Atomic uint64_t told;

static void dropped(void *ctx, uint64_t lines)
{
    (void)ctx;
    atomic_fetch_add(&told, lines);
}

static struct log_writer *writer;

static int setup(void **state)
{
    (void)state;
    atomic_store(&told, 0);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LEVEL_ALERT);
    return 0;
}

struct producer {
    int id;
    uint64_t put;
    pthread_t thread;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    char line[64];
    for (int i = 0; i < LINES; i++) {
        int n = snprintf(line, sizeof line, "%d %06d %.*s\n", p->id, i, i % 40,
                         "........................................");
        p->put += log_writer_put(writer, line, (size_t)n);
    }
    return NULL;
}

static uint64_t run_producers(void)
{
    struct producer producers[THREADS] = {0};
    uint64_t put = 0;
    for (int i = 0; i < THREADS; i++) {
        producers[i].id = i;
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(producers[i].thread, NULL);
        put += producers[i].put;
    }
    return put;
}

/* Whole lines in each thread's order: their number. */
static uint64_t check_lines(FILE *f)
{
    char line[128];
    int last[THREADS] = {-1, -1, -1, -1};
    uint64_t count = 0;
    while (fgets(line, sizeof line, f)) {
        int id, number;
        assert_int_equal(sscanf(line, "%d %d", &id, &number), 2);
        assert_in_range(id, 0, THREADS - 1);
        assert_true(number > last[id]);
        assert_int_equal(strlen(line), 2 + 7 + number % 40 + 1);
        last[id] = number;
        count++;
    }
    return count;
}

static void every_line_is_written_or_counted(void **state)
{
    (void)state;
    int fd = memfd_create("log", MFD_CLOEXEC);
    atomic_store(&target, fd);
    writer = log_writer_create(&target, "test", dropped, NULL);
    assert_non_null(writer);
    uint64_t put = run_producers();
    log_writer_stop(writer, 10000);
    FILE *f = fdopen(fd, "r");
    rewind(f);
    assert_int_equal(check_lines(f), put);
    assert_int_equal(put + atomic_load(&told), THREADS * LINES);
    log_writer_destroy(writer);
    fclose(f);
}

static void nobody_waits_for_a_reader(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    atomic_store(&target, ends[1]);
    writer = log_writer_create(&target, "test", dropped, NULL);
    uint64_t put = run_producers(); /* comes back although nobody reads */
    assert_true(put < THREADS * LINES);
    /* The reader is back: all that was taken arrives. */
    int pid = fork();
    if (pid == 0) {
        close(ends[1]);
        FILE *f = fdopen(ends[0], "r");
        uint64_t count = check_lines(f);
        _exit(count == put ? 0 : 1);
    }
    close(ends[0]);
    log_writer_stop(writer, 20000);
    close(ends[1]);
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(put + atomic_load(&told), THREADS * LINES);
    log_writer_destroy(writer);
}

static void what_nobody_reads_is_counted_at_the_end(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    atomic_store(&target, ends[1]);
    writer = log_writer_create(&target, "test", dropped, NULL);
    run_producers();
    uint64_t before = clock_us();
    log_writer_stop(writer, 300);
    assert_true(clock_us() - before < 30 * CLOCK_US_PER_SECOND);
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_int_equal(check_lines(f) + atomic_load(&told), THREADS * LINES);
    fclose(f);
    log_writer_destroy(writer);
}

static void a_reader_that_is_gone(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    atomic_store(&target, ends[1]);
    writer = log_writer_create(&target, "test", dropped, NULL);
    for (int i = 0; i < 10; i++) {
        assert_true(log_writer_put(writer, "line\n", 5));
    }
    log_writer_stop(writer, 1000);
    assert_int_equal(atomic_load(&told), 10);
    log_writer_destroy(writer);
    close(ends[1]);
}

static void a_line_that_is_too_long(void **state)
{
    static char line[LOG_WRITER_LINE + 1];
    (void)state;
    memset(line, 'x', sizeof line);
    atomic_store(&target, memfd_create("log", MFD_CLOEXEC));
    writer = log_writer_create(&target, "test", dropped, NULL);
    assert_false(log_writer_put(writer, line, sizeof line));
    line[LOG_WRITER_LINE - 1] = '\n';
    for (int i = 0; i < 3; i++) {
        assert_true(log_writer_put(writer, line, LOG_WRITER_LINE));
    }
    log_writer_stop(writer, 1000);
    assert_int_equal(lseek(atomic_load(&target), 0, SEEK_END), 3 * LOG_WRITER_LINE);
    assert_int_equal(atomic_load(&told), 1);
    log_writer_destroy(writer);
    close(atomic_load(&target));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_line_is_written_or_counted, setup),
        cmocka_unit_test_setup(nobody_waits_for_a_reader, setup),
        cmocka_unit_test_setup(what_nobody_reads_is_counted_at_the_end, setup),
        cmocka_unit_test_setup(a_reader_that_is_gone, setup),
        cmocka_unit_test_setup(a_line_that_is_too_long, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
