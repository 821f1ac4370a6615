/* See test_executor.h. Worker threads; the interrupt comes from the control thread. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/work/request.h"
#include "engine/work/worker.h"
#include "tests/support/test_executor.h"

_Atomic int test_threads, test_idles, test_interrupts[3], test_refuse_threads, test_refusal_ms;

static int start(const struct cli_options *cli, const struct pool_conf *pool)
{
    (void)cli;
    (void)pool;
    return 0;
}

static void stop(void)
{
}

/* executor_data: the thread's interrupt flag. */
static int thread_start(struct worker *w)
{
    if (test_refuse_threads > 0) {
        test_refuse_threads--;
        usleep((useconds_t)test_refusal_ms * 1000);
        return -1;
    }
    w->executor_data = calloc(1, sizeof(_Atomic bool));
    test_threads++;
    return 0;
}

static void thread_stop(struct worker *w)
{
    free(w->executor_data);
    test_threads--;
}

static bool interrupted(struct worker *w)
{
    return atomic_load((_Atomic bool *)w->executor_data);
}

static void interrupt(struct worker *w, enum interrupt_reason reason)
{
    test_interrupts[reason]++;
    atomic_store((_Atomic bool *)w->executor_data, true);
}

static void sleep_ms(struct worker *w, long ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR && !interrupted(w)) {
    }
}

static void be_stuck(long ms)
{
    uint64_t until = clock_us() + (uint64_t)ms * 1000;

    while (clock_us() < until) {
        usleep(1000);
    }
}

/* Stack overflow in C. */
static __attribute__((noinline)) int overflow(volatile int depth)
{
    volatile char block[4096];

    block[0] = (char)depth;
    block[4095] = (char)depth;
    return depth < 0 ? 0 : overflow(depth + 1) + block[0] + block[4095];
}

static void crash(const char *how)
{
    volatile int zero = 0;
    volatile uintptr_t nowhere = 16;

    if (strcmp(how, "/segv") == 0) {
        *(volatile int *)nowhere = 1;
    } else if (strcmp(how, "/abort") == 0) {
        abort();
    } else if (strcmp(how, "/fpe") == 0) {
#if defined(__x86_64__)
        zero = 1 / zero;
#endif
        raise(SIGFPE);
    } else if (strcmp(how, "/overflow") == 0) {
        zero = overflow(0);
    } else {
        raise(strcmp(how, "/bus") == 0 ? SIGBUS : SIGILL);
    }
}

static void answer(struct request *r, int status)
{
    struct response_head head = {.status = status};
    char piece[1000];
    ssize_t n;

    request_send_head(r, &head);
    while ((n = request_read_body(r, piece, sizeof(piece))) > 0) {
        request_write(r, piece, (size_t)n);
    }
}

static void crash_in_write(struct request *r)
{
    struct response_head head = {.status = 200};

    request_send_head(r, &head);
    request_write(r, (const char *)16, 1); /* the front end reads it, and dies with io_lock held */
}

static void run(struct worker *w, struct request *r)
{
    long ms = atol(r->query);

    atomic_store((_Atomic bool *)w->executor_data, false);
    if (strcmp(r->uri, "/echo") == 0) {
        answer(r, 200);
    } else if (strcmp(r->uri, "/sleep") == 0) {
        sleep_ms(w, ms);
        answer(r, interrupted(w) ? 500 : 200);
    } else if (strcmp(r->uri, "/nap") == 0) {
        struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

        answer(r, nanosleep(&left, NULL) == 0 ? 200 : 503);
    } else if (strcmp(r->uri, "/spin") == 0) {
        while (!interrupted(w)) {
        }
        answer(r, 500);
    } else if (strcmp(r->uri, "/stuck") == 0) {
        be_stuck(ms);
        answer(r, 200);
    } else if (strcmp(r->uri, "/php-time") == 0) {
        worker_set_php_time(w, 1);
        sleep_ms(w, ms);
        while (!interrupted(w)) {
        }
        answer(r, 500);
    } else if (strcmp(r->uri, "/early") == 0) {
        answer(r, 200);
        request_finish(r);
        sleep_ms(w, ms);
    } else if (strcmp(r->uri, "/crash-in-write") == 0) {
        crash_in_write(r);
    } else {
        crash(r->uri);
    }
    request_finish(r);
}

static void idle(struct worker *w)
{
    (void)w;
    test_idles++;
}

static int backtrace_to(struct worker *w, int fd, int depth)
{
    static const char frame[] = "[0x1] test() index.php:1\n";

    (void)w;
    (void)depth;
    return write(fd, frame, sizeof(frame) - 1) > 0 ? 0 : -1;
}

static size_t memory_peak(struct worker *w)
{
    (void)w;
    return 4096;
}

const struct executor test_executor = {
    .name = "test",
    .start = start,
    .stop = stop,
    .thread_start = thread_start,
    .thread_stop = thread_stop,
    .run = run,
    .interrupt = interrupt,
    .idle = idle,
    .backtrace = backtrace_to,
    .memory_peak = memory_peak,
};
