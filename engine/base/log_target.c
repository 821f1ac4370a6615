/* Where the lines of the log go: a descriptor or syslog, and stderr beside it for a while.
 *
 * target_lock is held for reading around each write, and for writing while the descriptor changes, so that
 * the owner of the old descriptor may close it as soon as log_to_fd() returns. A thread that crashed inside
 * write(2) never lets go of its side; the change then goes through after a second all the same.
 *
 * While the server serves, nobody waits for the log's reader (log_set_patience): a line that does not go out
 * at once is counted. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log_private.h"
#include "engine/base/system_log.h"
#include "engine/base/write_now.h"

#define TO_SYSLOG      (-1)
#define SYSLOG_WAIT_MS 100 /* at most, also where other logs are waited for without end */

static pthread_rwlock_t target_lock = PTHREAD_RWLOCK_INITIALIZER;
static _Atomic int target = STDERR_FILENO; /* changed under target_lock */
static _Atomic bool target_is_stderr = true;
static _Atomic bool also_stderr;
static _Atomic int patience_ms = LOG_PATIENCE_ENDLESS;
static _Atomic bool stuck; /* the last line met a reader that had no more of our patience */
static _Atomic bool torn;  /* the last line that went out has no end */
static _Atomic uint64_t dropped_ever;
static _Atomic uint32_t unsaid; /* of them */

static bool same_file(int a, int b)
{
    struct stat sa, sb;

    return a == b ||
           (fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

static void set_target(int fd)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    bool locked = pthread_rwlock_clockwrlock(&target_lock, CLOCK_MONOTONIC, &until) == 0;
    target = fd;
    target_is_stderr = fd >= 0 && same_file(fd, STDERR_FILENO);
    if (locked) {
        pthread_rwlock_unlock(&target_lock);
    }
}

void log_to_fd(int fd)
{
    set_target(fd);
}

void log_to_syslog(const char *ident, int facility, const char *path)
{
    system_log_open(ident, facility, path);
    set_target(TO_SYSLOG);
}

void log_also_stderr(bool on)
{
    also_stderr = on;
}

int log_fd(void)
{
    return target;
}

void log_set_patience(int ms)
{
    patience_ms = ms;
    dropped_ever = 0;
    unsaid = 0;
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped_ever, memory_order_relaxed);
}

static int syslog_priority(enum log_level level)
{
    static const int priorities[] = {
        [LEVEL_DEBUG] = LOG_DEBUG, [LEVEL_NOTICE] = LOG_NOTICE, [LEVEL_WARNING] = LOG_WARNING,
        [LEVEL_ERROR] = LOG_ERR,   [LEVEL_ALERT] = LOG_ALERT,
    };
    return priorities[level];
}

static size_t write_patiently(int fd, const char *p, size_t n)
{
    int patience = patience_ms;

    if (patience == LOG_PATIENCE_ENDLESS) {
        return write_waiting(fd, p, n);
    }
    size_t at = write_now(fd, p, n);
    if (at < n && errno == EAGAIN && patience > 0 && !stuck) {
        struct pollfd look = {.fd = fd, .events = POLLOUT};

        poll(&look, 1, patience);
        at += write_now(fd, p + at, n - at);
    }
    stuck = at < n;
    return at;
}

static bool write_whole(int fd, const char *p, size_t n)
{
    if (torn && write_patiently(fd, "\n", 1) == 1) {
        torn = false;
    }
    size_t done = torn ? 0 : write_patiently(fd, p, n);

    if (done > 0 && done < n) {
        torn = true;
    }
    return done == n || errno == EBADF; /* no log at all is not a log with gaps */
}

static bool send_to_syslog(enum log_level level, const char *p, size_t n)
{
    int patience = patience_ms == LOG_PATIENCE_ENDLESS ? SYSLOG_WAIT_MS : patience_ms;
    bool out = system_log_send(syslog_priority(level), p, n, stuck ? 0 : patience);

    stuck = !out && errno == EAGAIN;
    return out;
}

bool log_target_write(enum log_level level, const char *p, size_t n)
{
    bool out = true;

    pthread_rwlock_rdlock(&target_lock);
    int fd = target;
    if (fd == TO_SYSLOG) {
        out = send_to_syslog(level, p, n - 1);
    } else {
        out = write_whole(fd, p, n);
    }
    if (also_stderr && !target_is_stderr && level >= LEVEL_NOTICE) {
        write_patiently(STDERR_FILENO, p, n);
    }
    pthread_rwlock_unlock(&target_lock);
    return out;
}

void log_target_missed(void)
{
    atomic_fetch_add(&dropped_ever, 1);
    atomic_fetch_add(&unsaid, 1);
}

uint32_t log_target_unsaid(void)
{
    return unsaid ? atomic_exchange(&unsaid, 0) : 0;
}

void log_target_still_unsaid(uint32_t n)
{
    atomic_fetch_add(&unsaid, n);
}
