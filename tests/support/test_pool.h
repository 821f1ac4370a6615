/* A pool for a unit test: configuration, scoreboard and the control thread's loop in a few calls. */
#ifndef TESTS_SUPPORT_TEST_POOL_H
#define TESTS_SUPPORT_TEST_POOL_H

#include "engine/work/pool.h"

struct test_pool {
    struct pool_conf conf;
    struct scoreboard *board;
    struct pool *pool;
    int log_fd; /* what was logged, a memfd */
};

/* Defaults: static, `children` workers. Change conf, then test_pool_start. */
void test_pool_init(struct test_pool *t, int children);
void test_pool_create(struct test_pool *t, const struct executor *executor);
void test_pool_start(struct test_pool *t, const struct executor *executor); /* creates too */
/* Ticks like the engine process until condition(ctx), at most so long, and half a minute at least; its last
 * value. */
bool test_pool_until(struct test_pool *t, bool (*condition)(void *ctx), void *ctx, int timeout_ms);
void test_pool_run(struct test_pool *t, int ms); /* ticks for so long */
bool test_pool_logged(struct test_pool *t, const char *text);
void test_pool_stop(struct test_pool *t); /* asserts that every worker ended */

struct memory_call;
/* Submits and ticks until the client has its answer and, unless it was abandoned, the worker is free. */
void test_pool_call(struct test_pool *t, struct memory_call *call, int timeout_ms);

#endif
