/* Deadlines of running requests, enforced from outside their threads.
 *
 * Control thread, holding the worker's lock by trylock: a worker that is just beginning or ending a request
 * is left for the next tick, and none of this ever hits the following request. Worker's thread: deadline_arm.
 *
 * request_terminate_timeout has three stages. The executor ends the script, so that shutdown functions run.
 * Then a signal breaks what blocks in the kernel, again and again. A thread that is still there is written
 * off: its client is answered, a new thread takes its place, and it never comes back to the front end. */
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"

#define SIGNAL_AFTER_US    300000
#define WRITE_OFF_AFTER_US 2000000

enum stage { STAGE_NONE, STAGE_ASKED, STAGE_SIGNALLED };

void deadline_arm(struct worker *w, uint64_t now)
{
    const struct pool_settings *s = &w->pool->conf->s;

    w->terminate_at_us = s->request_terminate_timeout > 0
                             ? now + (uint64_t)s->request_terminate_timeout * CLOCK_US_PER_SECOND
                             : 0;
    w->slow_at_us = s->request_slowlog_timeout > 0 && atomic_load(&w->pool->slow_log_fd) >= 0
                        ? now + (uint64_t)s->request_slowlog_timeout * CLOCK_US_PER_SECOND
                        : 0;
}

/* -- request_terminate_timeout -- */

/* With the lock held. Its client is answered later, by lost_add: here it could wait. */
static void write_off(struct pool *pool, struct worker *w)
{
    uint32_t many = pool->worker_count / 4 > 2 ? pool->worker_count / 4 : 2;

    log_warning("[pool %s] child %d does not react and is written off", pool->conf->name, (int)w->tid);
    atomic_store(&w->lost, true);
    if (pool->lost_count + 1 > many) {
        pool_request_swap(pool, "too many workers are stuck");
    }
}

static void press(struct pool *pool, struct worker *w, uint64_t now)
{
    uint64_t since = now - w->interrupted_us;

    if (since >= WRITE_OFF_AFTER_US) {
        write_off(pool, w);
        return;
    }
    if (since < SIGNAL_AFTER_US) {
        return;
    }
    /* Asked again as well: the first time may have been spent on the script, and now a shutdown function
     * runs. */
    w->interrupt_stage = STAGE_SIGNALLED;
    pool->executor->interrupt(w, INTERRUPT_TERMINATE);
    pthread_kill(w->thread, WORKER_SIGNAL_INTERRUPT);
}

static void begin_interrupt(struct pool *pool, struct worker *w, enum interrupt_reason reason, int status,
                            uint64_t now)
{
    w->interrupt_stage = STAGE_ASKED;
    w->interrupted_us = now;
    w->abandon_status = status;
    pool->executor->interrupt(w, reason);
}

static void check_terminate(struct pool *pool, struct worker *w, uint64_t now)
{
    if (w->interrupt_stage != STAGE_NONE) {
        press(pool, w, now);
        return;
    }
    if (w->terminate_at_us == 0 || now < w->terminate_at_us) {
        return;
    }
    if (worker_get_state(w) >= WORKER_ENDING && !pool->conf->s.request_terminate_timeout_track_finished) {
        return;
    }
    worker_log_request(w, now, "execution timed out", "terminating");
    metrics_count(pool->board, TOTAL_TIMEOUTS, 1);
    begin_interrupt(pool, w, INTERRUPT_TERMINATE, 504, now);
}

static void check_php_time(struct pool *pool, struct worker *w, uint64_t now)
{
    if (w->php_time_at_us != 0 && now >= w->php_time_at_us) {
        w->php_time_at_us = 0;
        pool->executor->interrupt(w, INTERRUPT_PHP_TIME);
    }
    if (w->php_time_is_over && w->interrupt_stage == STAGE_NONE) {
        worker_log_request(w, now, "does not end at max_execution_time", "terminating");
        metrics_count(pool->board, TOTAL_TIMEOUTS, 1);
        write_off(pool, w);
    }
    w->php_time_is_over = false;
}

void deadline_check(struct pool *pool, struct worker *w, uint64_t now)
{
    slow_log_finish(w);
    if (worker_get_state(w) <= WORKER_IDLE || atomic_load(&w->crash.entered_us) ||
        pthread_mutex_trylock(&w->lock) != 0) {
        return;
    }
    if (w->request) {
        check_php_time(pool, w, now);
        slow_log_check(w, now);
        check_terminate(pool, w, now);
    }
    bool lost = atomic_load(&w->lost);

    pthread_mutex_unlock(&w->lock);
    if (lost && !atomic_load(&w->crash.entered_us)) {
        lost_add(pool, w, false, now);
    }
}

void deadline_force(struct pool *pool, struct worker *w, uint64_t now)
{
    if (pthread_mutex_trylock(&w->lock) != 0) {
        return; /* it begins or ends a request: asked again by our caller */
    }
    if (w->request && w->interrupt_stage == STAGE_NONE) {
        begin_interrupt(pool, w, INTERRUPT_DRAIN, 503, now);
    }
    pthread_mutex_unlock(&w->lock);
}
