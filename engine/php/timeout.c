/* max_execution_time, max_input_time and set_time_limit() as deadlines of the engine.
 *
 * PHP would arm a timer of the process (which hits any thread) or one of the kernel's for each request (which
 * costs eleven system calls). Here EG(timeout_seconds) stays 0, so PHP arms nothing; the ini entries'
 * handlers are replaced and the worker's deadline is set instead. As in php-fpm the limit counts the
 * processor time of the request, not waiting: when the wall clock has reached it, the control thread looks at
 * the thread's processor clock and, if there is time left, moves the deadline. A script that has not heard of
 * its end (a C function runs) gets hard_timeout more of it, and is then given up, as php-fpm's child is.
 * Where it has heard, what runs afterwards (shutdown functions) has that much, and is told again: PHP's timer
 * of the hard limit stays armed (zend_set_timeout_ex(0) leaves it).
 *
 * Handlers run on the thread whose table changes; timeout_interrupt on the control thread, with the worker's
 * lock held. */
#include "engine/php/timeout.h"

#include <time.h>

#include "php_ini.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"

static _Thread_local zend_long execution_limit; /* this thread's max_execution_time, seconds; 0 = none */
static _Thread_local zend_long input_limit;     /* max_input_time; -1 = as max_execution_time */

/* What the control thread needs of the running deadline. Written by the worker before it sets the deadline
 * under the worker's lock, read under that lock. */
struct armed {
    _Atomic int64_t seconds;
    _Atomic uint64_t cpu_before_us; /* processor time of the thread when the limit began to count */
    _Atomic bool told;              /* the limit has been reached, and the script been told */
    uint64_t told_cpu_us;           /* ... with this much processor time used */
};
static _Thread_local struct armed armed;
/* Reading the processor clock is a system call, so its last value is kept for a second: the time since then
 * counts as used before the request, which errs by at most that second in the script's favour. */
static _Thread_local uint64_t sampled_at_us, sampled_cpu_us;

static uint64_t cpu_us(clockid_t clock)
{
    struct timespec ts;

    return clock_gettime(clock, &ts) == 0
               ? (uint64_t)ts.tv_sec * CLOCK_US_PER_SECOND + (uint64_t)ts.tv_nsec / 1000
               : 0;
}

static uint64_t cpu_now_about(bool exactly)
{
    uint64_t now = clock_coarse_us();

    if (exactly || now - sampled_at_us > CLOCK_US_PER_SECOND) {
        sampled_at_us = now;
        sampled_cpu_us = cpu_us(CLOCK_THREAD_CPUTIME_ID);
        return sampled_cpu_us;
    }
    return sampled_cpu_us + (now - sampled_at_us);
}

static void arm(struct php_thread *t, zend_long seconds, bool exactly)
{
    t->deadline = &armed;
    if (seconds <= 0) {
        if (armed.seconds > 0) {
            armed.seconds = 0;
            worker_set_php_time(t->worker, 0);
        }
        return;
    }
    armed.told = false;
    armed.cpu_before_us = cpu_now_about(exactly);
    armed.seconds = seconds;
    worker_set_php_time(t->worker, seconds);
}

void timeout_begin_input(struct php_thread *t)
{
    EG(timeout_seconds) = 0;
    zend_atomic_bool_store_ex(&EG(timed_out), false);
    arm(t, input_limit == -1 ? execution_limit : input_limit, false);
}

void timeout_begin_script(struct php_thread *t)
{
    if (input_limit != -1) {
        arm(t, execution_limit, false);
    }
}

void timeout_end(struct php_thread *t)
{
    arm(t, 0, false);
    if (EG(timeout_seconds)) {
        pthread_sigmask(SIG_SETMASK, &t->signals,
                        NULL); /* PHP opened its timer's signal when it ended the script */
    }
    EG(timeout_seconds) = 0;
    zend_atomic_bool_store_ex(&EG(timed_out), false);
}

static void look_again(struct worker *w, uint64_t left_us)
{
    w->php_time_at_us = clock_us() + (left_us < 10000 ? 10000 : left_us);
}

/* PHP's own end of time: the virtual machine sees the flags at the next jump or call. */
static void tell(struct php_thread *t, struct armed *a, uint64_t cpu)
{
    t->core->connection_status |= PHP_CONNECTION_TIMEOUT;
    t->executor->timeout_seconds = a->seconds;
    zend_atomic_bool_store_ex(&t->executor->timed_out, true);
    zend_atomic_bool_store_ex(&t->executor->vm_interrupt, true);
    a->told = true;
    a->told_cpu_us = cpu;
}

void timeout_interrupt(struct php_thread *t)
{
    struct armed *a = t->deadline;
    struct worker *w = t->worker;
    clockid_t clock;

    if (!a || a->seconds <= 0 || pthread_getcpuclockid(w->thread, &clock) != 0) {
        return;
    }
    uint64_t cpu = cpu_us(clock), from = a->told ? a->told_cpu_us : a->cpu_before_us;
    zend_long hard = t->executor->hard_timeout;
    uint64_t limit = (uint64_t)(a->told ? hard : a->seconds) * CLOCK_US_PER_SECOND;

    if (a->told && hard <= 0) {
        return;
    }
    if ((int64_t)(cpu - from) < (int64_t)limit) {
        look_again(w, limit - (cpu - from));
    } else if (a->told && zend_atomic_bool_load_ex(&t->executor->timed_out)) {
        log_error("Maximum execution time of " ZEND_LONG_FMT "+" ZEND_LONG_FMT
                  " seconds exceeded (terminated)",
                  (zend_long)a->seconds, hard);
        w->php_time_is_over = true;
    } else {
        tell(t, a, cpu);
        look_again(w, hard > 0 ? (uint64_t)hard * CLOCK_US_PER_SECOND : 0);
    }
}

/* -- ini entries -- */

static ZEND_INI_MH(on_max_execution_time)
{
    execution_limit = ZEND_ATOL(ZSTR_VAL(new_value));
    if (stage == ZEND_INI_STAGE_RUNTIME && php_thread && php_thread->request) {
        arm(php_thread, execution_limit, true);
    }
    return SUCCESS;
}

/* PG(max_input_time) stays -1: at another value PHP would set max_execution_time's timer itself. */
static ZEND_INI_MH(on_max_input_time)
{
    input_limit = ZEND_ATOL(ZSTR_VAL(new_value));
    return SUCCESS;
}

static void replace_handler(const char *name, ZEND_INI_MH((*handler)))
{
    zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), name, strlen(name));
    zend_string *value = entry && entry->value ? entry->value : ZSTR_EMPTY_ALLOC();

    if (entry) {
        entry->on_modify = handler;
        handler(entry, value, NULL, NULL, NULL, ZEND_INI_STAGE_STARTUP);
    }
}

/* While modules start, EG(ini_directives) is the table that all threads will copy, this one included; they
 * call each handler with its value. */
void timeout_replace_handlers(void)
{
    replace_handler("max_execution_time", on_max_execution_time);
    replace_handler("max_input_time", on_max_input_time);
    timeout_thread_start();
}

void timeout_thread_start(void)
{
    EG(timeout_seconds) = 0;
    PG(max_input_time) = -1;
}
