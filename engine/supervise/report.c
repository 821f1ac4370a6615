/* What the supervisor tells the outside: systemd's heartbeat, crash files, and php-fpm's emergency restart.
 * Supervisor's thread. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/notify.h"
#include "engine/supervise/scribe.h"
#include "engine/supervise/state.h"

#define FAULTS_MOST     1000000 /* that can be waited for: more do not happen in any interval */
#define CRASH_FILES_MAX 1000    /* of one supervisor: a crash loop must not fill the disk */

/* -- systemd -- */

void report_start(struct supervisor *s)
{
    notify_init();
    if (s->config->global.systemd_interval > 0) {
        s->notify_interval_us = (uint64_t)s->config->global.systemd_interval * CLOCK_US_PER_SECOND;
    }
    if (notify_watchdog_us() > 0) {
        s->notify_interval_us = notify_watchdog_us();
        log_notice("systemd watchdog configured to %.3gsec",
                   (double)s->notify_interval_us / (double)CLOCK_US_PER_SECOND);
        s->notify_us =
            s->started_us + s->notify_interval_us; /* a start may take longer than the watchdog waits */
    }
}

void report_ready(struct supervisor *s)
{
    if (!notify_active()) {
        return;
    }
    notify_send("READY=1\nSTATUS=Ready to handle connections\nMAINPID=%d", (int)getpid());
    if (s->notify_interval_us == 0) {
        log_notice("systemd monitor disabled");
        return;
    }
    s->notify_us = clock_us() + s->notify_interval_us;
    if (!s->notify_told) {
        s->notify_told = true;
        log_notice("systemd monitor interval set to %llums",
                   (unsigned long long)(s->notify_interval_us / 1000));
    }
}

static void send_numbers(struct supervisor *s)
{
    uint64_t requests = 0, slow = 0;
    uint32_t active = 0, idle = 0;
    struct view *view = boards_view(s, NULL);
    for (uint32_t i = 0; view && i < view->pool_count; i++) {
        const struct pool_view *pool = &view->pools[i];
        active += pool->active;
        idle += pool->idle;
        requests += pool->accepted;
        slow += pool->slow_requests;
    }
    view_free(view);
    double seconds = (double)s->notify_interval_us / (double)CLOCK_US_PER_SECOND;
    notify_send("READY=1\n%sSTATUS=Processes active: %u, idle: %u, Requests: %llu, slow: %llu, "
                "Traffic: %.2freq/sec",
                notify_watchdog_us() > 0 ? "WATCHDOG=1\n" : "", active, idle, (unsigned long long)requests,
                (unsigned long long)slow, (double)(requests - s->notified_requests) / seconds);
    s->notified_requests = requests;
}

/* Access and slow log lines that a full disk, say, has not taken: the error log says it, if it can. */
static uint64_t say_unwritten(void)
{
    static uint64_t said;
    uint64_t lost = scribes_lost();
    if (lost > said) {
        log_limited(LEVEL_ERROR, "%llu lines of access or slow logs could not be written",
                    (unsigned long long)(lost - said));
        said = lost;
    }
    return lost;
}

/* What our logs have not taken, for whoever asks an engine process. */
void report_missed_lines(struct supervisor *s)
{
    static uint64_t counted;
    uint64_t all = log_dropped() + say_unwritten();
    if (s->members && all > counted) {
        s->members->past.sum.totals[TOTAL_LOG_MISSED] += all - counted;
        counted = all;
    }
}

/* The watchdog is fed in every phase, but while a reload or the end goes on we are not "ready". */
void report_tick(struct supervisor *s, uint64_t now)
{
    report_missed_lines(s);
    if (s->notify_us == 0 || now < s->notify_us) {
        return;
    }
    s->notify_us = now + s->notify_interval_us;
    if (s->phase == PHASE_RUNNING) {
        send_numbers(s);
    } else if (notify_watchdog_us() > 0) {
        notify_send("WATCHDOG=1");
    }
}

/* -- crashes -- */

void report_crash(struct supervisor *s, const struct member *member, pid_t pid, const char *text)
{
    static unsigned written;
    char path[PATH_MAX], stamp[32];
    struct tm broken;
    time_t now = time(NULL);
    const char *dir = s->config->global.crash_dir;
    if (!dir || !*dir || strlen(dir) >= sizeof(path) / 2 || written >= CRASH_FILES_MAX) {
        return;
    }
    localtime_r(&now, &broken);
    strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &broken);
    snprintf(path, sizeof(path), "%s/crash-%s-%s-%d-%u.txt", dir, stamp, member->name, (int)pid, written++);
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '_'; /* a pool's name may have one */
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        log_sys(LEVEL_WARNING, "a crash report could not be written (%s)", path);
        return;
    }
    if (write(fd, text, strlen(text)) < 0) {
        log_sys(LEVEL_WARNING, "a crash report could not be written (%s)", path);
    }
    close(fd);
}

/* php-fpm's emergency_restart_threshold: so many crashes within the interval ask for a reload. */
void report_fault(struct supervisor *s)
{
    int64_t threshold = s->config->global.emergency_restart_threshold;
    int64_t interval = s->config->global.emergency_restart_interval;
    uint64_t now = clock_us();
    if (threshold <= 0 || threshold > FAULTS_MOST || s->phase >= PHASE_LEAVING) {
        return;
    }
    if (!s->crash_us) {
        s->crash_us = xcalloc((size_t)threshold, sizeof(*s->crash_us));
    }
    s->crash_us[s->crash_next] = now;
    s->crash_next = (s->crash_next + 1) % (unsigned)threshold;
    uint64_t oldest = s->crash_us[s->crash_next];
    if (oldest != 0 && now - oldest <= (uint64_t)interval * CLOCK_US_PER_SECOND) {
        log_warning("failed processes threshold (%d in %d sec) is reached, initiating reload", (int)threshold,
                    (int)interval);
        memset(s->crash_us, 0, (size_t)threshold * sizeof(*s->crash_us));
        s->reload_wanted = true;
    }
}
