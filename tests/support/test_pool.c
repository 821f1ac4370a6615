/* See test_pool.h. The test's own thread is the control thread. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "tests/support/memory_frontend.h"
#include "tests/support/test_pool.h"

#define TICK_MS     20
#define PATIENCE_MS 30000 /* what is waited for comes at once, unless the machine has much else to do */

void test_pool_init(struct test_pool *t, int children)
{
    memset(t, 0, sizeof(*t));
    t->conf.name = strdup("www");
    t->conf.s.pm = PM_STATIC;
    t->conf.s.max_children = children;
    t->conf.s.max_spawn_rate = 32;
    t->conf.s.process_idle_timeout = 10;
    t->conf.s.processes = 1;
    t->conf.s.request_slowlog_trace_depth = 20;
    t->log_fd = memfd_create("log", MFD_CLOEXEC);
    MUST(t->log_fd >= 0);
    log_set_level(LEVEL_NOTICE);
    log_to_fd(t->log_fd);
}

void test_pool_create(struct test_pool *t, const struct executor *executor)
{
    t->board = scoreboard_create(&t->conf);
    MUST(t->board);
    t->pool = pool_create(&t->conf, executor, t->board, 1);
    MUST(t->pool);
}

void test_pool_start(struct test_pool *t, const struct executor *executor)
{
    test_pool_create(t, executor);
    MUST(pool_start(t->pool) == 0);
    pool_open(t->pool);
}

static void tick_once(struct test_pool *t)
{
    struct pollfd p = {.fd = pool_event_fd(t->pool), .events = POLLIN};

    poll(&p, 1, TICK_MS);
    pool_tick(t->pool);
}

bool test_pool_until(struct test_pool *t, bool (*condition)(void *ctx), void *ctx, int timeout_ms)
{
    uint64_t limit = clock_us() + (uint64_t)(timeout_ms > PATIENCE_MS ? timeout_ms : PATIENCE_MS) * 1000;

    while (!condition(ctx)) {
        if (clock_us() > limit) {
            return false;
        }
        tick_once(t);
    }
    return true;
}

void test_pool_run(struct test_pool *t, int ms)
{
    uint64_t limit = clock_us() + (uint64_t)ms * 1000;

    do {
        tick_once(t);
    } while (clock_us() <= limit);
}

bool test_pool_logged(struct test_pool *t, const char *text)
{
    static char logged[65536];
    ssize_t n = pread(t->log_fd, logged, sizeof(logged) - 1, 0);

    logged[n > 0 ? n : 0] = '\0';
    return strstr(logged, text) != NULL;
}

void test_pool_stop(struct test_pool *t)
{
    bool lost = false;

    for (uint32_t i = 0; i < t->board->numbers->slots_used; i++) {
        lost |= t->board->slots[i].state == WORKER_LOST;
    }
    for (int i = 0; i < 50 && !pool_stop(t->pool); i++) {
    }
    MUST(pool_stop(t->pool));
    pool_destroy(t->pool);
    if (!lost) {
        scoreboard_destroy(t->board);
        free(t->conf.name);
    }
    log_to_fd(STDERR_FILENO);
    close(t->log_fd);
}

static bool call_over(void *ctx)
{
    struct memory_call *call = ctx;

    return call->abandoned || memory_done(call);
}

void test_pool_call(struct test_pool *t, struct memory_call *call, int timeout_ms)
{
    MUST(memory_submit(call) == SUBMIT_OK);
    MUST(test_pool_until(t, call_over, call, timeout_ms));
}
