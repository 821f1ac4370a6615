/* request_slowlog_timeout: a backtrace of a script that runs too long, taken by its own thread in a signal
 * handler, or for it while it is blocked in the kernel. Control thread, but for slow_log_answer. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/write_now.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"

static void compose_trace_head(struct worker *w)
{
    time_t seconds = (time_t)(clock_wall_us() / CLOCK_US_PER_SECOND);
    char when[32], script[256];
    struct tm tm;

    localtime_r(&seconds, &tm);
    strftime(when, sizeof(when), "[%d-%b-%Y %H:%M:%S]", &tm);
    worker_log_text(script, sizeof(script), w->request->script);
    int n = snprintf(w->trace_head, sizeof(w->trace_head), "\n%s  [pool %s] pid %d\nscript_filename = %s\n",
                     when, w->pool->conf->name, (int)w->tid, script);

    w->trace_head_n = n < 0 ? 0 : (size_t)n < sizeof(w->trace_head) ? (size_t)n : sizeof(w->trace_head) - 1;
}

void slow_log_check(struct worker *w, uint64_t now)
{
    if (w->slow_at_us == 0 || now < w->slow_at_us || worker_get_state(w) != WORKER_RUNNING) {
        return;
    }
    w->slow_at_us = 0;
    atomic_fetch_add(&w->pool->board->numbers->slow_requests, 1);
    metrics_count(w->pool->board, TOTAL_SLOW, 1);
    worker_log_request(w, now, "executing too slow", "logging");
    log_notice("about to trace %d", (int)w->tid);
    compose_trace_head(w);
    w->trace_told = true;
    atomic_store(&w->trace_wanted, true);
    if (worker_is_blocked(w)) {
        /* A signal would cut its sleep() or read() short, which php-fpm's tracing does not. Its stack stands
         * still (and whoever walks it survives if it does not). */
        slow_log_answer(w);
    } else {
        pthread_kill(w->thread, WORKER_SIGNAL_TRACE);
    }
}

/* In the signal handler this is between any two instructions of the script: nothing here locks or allocates.
 */
void slow_log_answer(struct worker *w)
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

void slow_log_finish(struct worker *w)
{
    if (w->trace_told && !atomic_load(&w->trace_wanted)) {
        w->trace_told = false;
        log_notice("finished trace of %d", (int)w->tid);
    }
}
