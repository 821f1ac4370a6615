/* A seat for a unit test of the generation swap: a table of functions that writes down what the machine asks
 * for, and a clock that the test turns. One seat a program, on one thread. */
#ifndef TESTS_SUPPORT_TEST_SEAT_H
#define TESTS_SUPPORT_TEST_SEAT_H

#include "engine/base/clock.h"
#include "engine/supervise/generation.h"

#define SECOND CLOCK_US_PER_SECOND

extern struct seat test_seat;
extern uint64_t test_now;
extern int test_launch_result; /* of the next launches; 0 at first */
extern bool test_others;       /* another seat of the pool serves; no at first */
extern bool test_starves;      /* processes get no processor; no at first */

extern uint32_t test_let_in; /* the generation that was last told to serve; 0 at first */

int test_seat_set_up(void **state); /* an empty seat at 1000 s */
int test_seat_tear_down(void **state);

/* What was asked for since the last call, "verb number, verb number"; until the next call. */
const char *test_happened(void);
struct generation *test_generation(uint32_t n); /* asserts that it is there */
void test_pass(uint64_t us);                    /* the clock goes on, and the machine looks once */
/* Does what the supervisor's loop does: sleeps until the machine has something to do, at most until then. */
void test_sleep_until(uint64_t end);
/* The same again and again. A machine that names times at which it does nothing would turn this, and the
 * supervisor, into a busy loop: it is refused. */
void test_run_until(uint64_t end);

void test_serve_first(void); /* generation 1 serves */
void test_begin_swap(void);  /* ... and generation 2 starts, without a warm list; what happened is kept */

#endif
