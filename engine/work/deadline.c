/* Deadlines of running requests, enforced from outside their threads.
 *
 * Control thread, holding the worker's lock by trylock: a worker that is just beginning or ending a request
 * is left for the next tick, and none of this ever hits the following request. Worker's thread: deadline_arm
 * and, in a signal handler, deadline_answer_trace.
 *
 * request_terminate_timeout has three stages. The executor ends the script, so that shutdown functions run.
 * Then a signal breaks what blocks in the kernel, again and again. A thread that is still there is written
 * off: its client is answered, a new thread takes its place, and it never comes back to the front end. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/proc_file.h"
#include "engine/base/write_now.h"
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

/* -- messages -- */

/* A copy without control characters: the client chose these bytes. */
static void purify(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; text && text[n] && n + 1 < size; n++) {
        out[n] = iscntrl((unsigned char)text[n]) ? '.' : text[n];
    }
    out[n] = '\0';
}

static void log_request(const struct worker *w, uint64_t now, const char *what, const char *then)
{
    const struct request *r = w->request ? w->request : atomic_load(&w->queued);
    uint64_t us = now - r->times.started;
    char script[256], method[16], uri[128], query[512];

    purify(script, sizeof(script), r->script);
    purify(method, sizeof(method), r->method);
    purify(uri, sizeof(uri), r->uri);
    purify(query, sizeof(query), r->query);
    log_warning("[pool %s] child %d, script '%s' (request: \"%s %s%s%s\") %s (%d.%06d sec), %s",
                w->pool->conf->name, (int)w->tid, script, method, uri, *query ? "?" : "", query, what,
                (int)(us / CLOCK_US_PER_SECOND), (int)(us % CLOCK_US_PER_SECOND), then);
}

/* -- the slow log -- */

static void compose_trace_head(struct worker *w)
{
    time_t seconds = (time_t)(clock_wall_us() / CLOCK_US_PER_SECOND);
    char when[32], script[256];
    struct tm tm;

    localtime_r(&seconds, &tm);
    strftime(when, sizeof(when), "[%d-%b-%Y %H:%M:%S]", &tm);
    purify(script, sizeof(script), w->request->script);
    int n = snprintf(w->trace_head, sizeof(w->trace_head), "\n%s  [pool %s] pid %d\nscript_filename = %s\n",
                     when, w->pool->conf->name, (int)w->tid, script);

    w->trace_head_n = n < 0 ? 0 : (size_t)n < sizeof(w->trace_head) ? (size_t)n : sizeof(w->trace_head) - 1;
}

/* Is the thread blocked in the kernel? Field 3 of its stat line, after the last ')'. */
bool worker_is_blocked(const struct worker *w)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)w->tid);
    proc_file_read(path, text, sizeof(text));
    const char *end = strrchr(text, ')');

    return end && end[1] == ' ' && (end[2] == 'S' || end[2] == 'D');
}

static void check_slow(struct worker *w, uint64_t now)
{
    if (w->slow_at_us == 0 || now < w->slow_at_us || worker_get_state(w) != WORKER_RUNNING) {
        return;
    }
    w->slow_at_us = 0;
    atomic_fetch_add(&w->pool->board->numbers->slow_requests, 1);
    metrics_count(w->pool->board, TOTAL_SLOW, 1);
    log_request(w, now, "executing too slow", "logging");
    log_notice("about to trace %d", (int)w->tid);
    compose_trace_head(w);
    w->trace_told = true;
    atomic_store(&w->trace_wanted, true);
    if (worker_is_blocked(w)) {
        /* A signal would cut its sleep() or read() short, which php-fpm's tracing does not. Its stack stands
         * still (and whoever walks it survives if it does not). */
        deadline_answer_trace(w);
    } else {
        pthread_kill(w->thread, WORKER_SIGNAL_TRACE);
    }
}

/* In the signal handler this is between any two instructions of the script: nothing here locks or allocates.
 */
void deadline_answer_trace(struct worker *w)
{
    int saved = errno;
    int fd = atomic_load(&w->pool->slow_log_fd);

    if (atomic_exchange(&w->trace_wanted, false) && fd >= 0) {
        static const char failed[] = "+++ dump failed\n";
        int depth = (int)w->pool->conf->s.request_slowlog_trace_depth;

        write_waiting(fd, w->trace_head, w->trace_head_n);
        if (!w->pool->executor->backtrace || w->pool->executor->backtrace(w, fd, depth) != 0) {
            write_waiting(fd, failed, sizeof(failed) - 1);
        }
    }
    errno = saved;
}

static void finish_trace(struct worker *w)
{
    if (w->trace_told && !atomic_load(&w->trace_wanted)) {
        w->trace_told = false;
        log_notice("finished trace of %d", (int)w->tid);
    }
}

/* -- request_terminate_timeout -- */

/* With the lock held. Its client is answered later by deadline_abandon: here it could wait. */
static void write_off(struct pool *pool, struct worker *w, uint64_t now)
{
    uint32_t many = pool->worker_count / 4 > 2 ? pool->worker_count / 4 : 2;

    log_warning("[pool %s] child %d does not react and is written off", pool->conf->name, (int)w->tid);
    atomic_store(&w->lost, true);
    w->abandoned_us = now;
    if (pool->lost_count + 1 > many) {
        pool_request_swap(pool, "too many workers are stuck");
    }
}

static void press(struct pool *pool, struct worker *w, uint64_t now)
{
    uint64_t since = now - w->interrupted_us;

    if (since >= WRITE_OFF_AFTER_US) {
        write_off(pool, w, now);
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
    log_request(w, now, "execution timed out", "terminating");
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
        log_request(w, now, "does not end at max_execution_time", "terminating");
        metrics_count(pool->board, TOTAL_TIMEOUTS, 1);
        write_off(pool, w, now);
    }
    w->php_time_is_over = false;
}

void deadline_check(struct pool *pool, struct worker *w, uint64_t now)
{
    finish_trace(w);
    if (worker_get_state(w) <= WORKER_IDLE || atomic_load(&w->crash.entered_us) ||
        pthread_mutex_trylock(&w->lock) != 0) {
        return;
    }
    if (w->request) {
        check_php_time(pool, w, now);
        check_slow(w, now);
        check_terminate(pool, w, now);
    }
    bool lost = atomic_load(&w->lost);

    pthread_mutex_unlock(&w->lock);
    if (lost && !atomic_load(&w->crash.entered_us)) {
        w->buried = deadline_abandon(w, false);
        pool_bury(pool, w);
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

/* Between two requests. Whatever it has in hand has its end. */
static void abandon_held(struct worker *w)
{
    struct waitable *held = atomic_exchange(&w->held, NULL);

    if (held && held->lost) {
        held->lost(held);
    }
}

bool deadline_abandon(struct worker *w, bool insist)
{
    struct request *r = w->request ? w->request : atomic_load(&w->queued);

    if (!r) {
        abandon_held(w);
        return true;
    }
    bool locked = pthread_mutex_trylock(&r->io_lock) == 0;

    if (!locked && !insist) {
        return false;
    }
    /* If it cannot be locked, nothing about it can be known for sure, not even whether it is finished. */
    if (!locked || !r->finished) {
        atomic_store(&r->gone, true);
        r->io->abandon(r, w->abandon_status, locked);
    } else if (r->io->forsake) {
        r->io->forsake(r);
    }
    if (!r->head_sent) {
        r->status = w->abandon_status;
    }
    /* Unlocked, it is over for us at least. */
    if (!locked || !r->io->settled || r->io->settled(r)) {
        pool_account(w->pool, w->pool->counters, r);
    }
    if (locked) {
        pthread_mutex_unlock(&r->io_lock);
    }
    return true;
}
