/* The server log. Any thread may write; a line is put together on the writer's stack (log_line.c) and leaves
 * in one write(2) (log_target.c), so lines of different threads and processes never mix. The switches are
 * atomics.
 *
 * While the server serves, nobody waits for the log's reader (log_set_patience): a line that does not go out
 * at once is counted, and the next one that does is preceded by one that says how many are missing. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/base/clock.h"
<<<<<<< Updated upstream
#include "engine/base/log_private.h"
#include "engine/base/write_now.h"

#define WORKER_AS_ALL (-2)
#define LIMIT_DEFAULT 1024
=======
#include "engine/base/system_log.h"
#include "engine/base/write_now.h"

#define TO_SYSLOG      (-1)
#define WORKER_AS_ALL  (-2)
#define LIMIT_DEFAULT  1024
#define STACK_LINE     4096 /* longer limits allocate */
#define ELLIPSIS       "..."
#define SYSLOG_WAIT_MS 100 /* at most, also where other logs are waited for without end */
>>>>>>> Stashed changes

static _Atomic int threshold = LEVEL_NOTICE;
static _Atomic size_t line_limit = LIMIT_DEFAULT;
static _Atomic bool buffering = true;
static _Atomic int worker_fd = WORKER_AS_ALL;

_Thread_local log_tap_fn log_tap;
_Thread_local bool log_as_server;

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {
        [LEVEL_DEBUG] = "DEBUG", [LEVEL_NOTICE] = "NOTICE", [LEVEL_WARNING] = "WARNING",
        [LEVEL_ERROR] = "ERROR", [LEVEL_ALERT] = "ALERT",
    };
    return level >= LEVEL_DEBUG && level <= LEVEL_ALERT ? names[level] : "unknown value";
}

<<<<<<< Updated upstream
=======
static int syslog_priority(enum log_level level)
{
    static const int priorities[] = {
        [LEVEL_DEBUG] = LOG_DEBUG, [LEVEL_NOTICE] = LOG_NOTICE, [LEVEL_WARNING] = LOG_WARNING,
        [LEVEL_ERROR] = LOG_ERR,   [LEVEL_ALERT] = LOG_ALERT,
    };
    return priorities[level];
}

/* ---- where lines go ---- */

static bool same_file(int a, int b)
{
    struct stat sa, sb;

    return a == b ||
           (fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

static void set_target(int fd)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    bool locked = pthread_rwlock_timedwrlock(&target_lock, &until) == 0;
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

>>>>>>> Stashed changes
/* ---- switches ---- */

void log_set_level(enum log_level level)
{
    threshold = (int)level;
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_set_limit(size_t bytes)
{
    line_limit = bytes < 64 ? 64 : bytes;
}

void log_set_buffering(bool on)
{
    buffering = on;
}

size_t log_limit(void)
{
    return line_limit;
}

void log_set_worker_fd(int fd)
{
    worker_fd = fd;
}

bool log_buffering(void)
{
    return buffering;
}

<<<<<<< Updated upstream
/* ---- what is written ---- */
=======
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

void log_set_timestamps(bool on)
{
    timestamps = on;
}

void log_set_format(enum log_format format, const char *service)
{
    snprintf(service_name, sizeof service_name, "%s", service ? service : "");
    line_format = format;
}

/* ---- a line ---- */

static void add_time(struct line *line)
{
    struct timespec now;
    struct tm broken;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &broken);
    strftime(text, sizeof text, "%d-%b-%Y %H:%M:%S", &broken);
    line_printf(line, "[%s", text);
    if (log_get_level() == LEVEL_DEBUG) {
        line_printf(line, ".%06ld", now.tv_nsec / 1000);
    }
    line_printf(line, "] ");
}

static void add_prefix(struct line *line, enum log_level level, const char *function, int number)
{
    bool debug = log_get_level() == LEVEL_DEBUG;

    if (target == TO_SYSLOG) {
        line_printf(line, "[%s] ", log_level_name(level));
        if (debug) {
            line_printf(line, "%s(), line %d: ", function, number);
        }
        return;
    }
    if (timestamps) {
        add_time(line);
    }
    line_printf(line, "%s: ", log_level_name(level));
    if (debug && timestamps) {
        line_printf(line, "pid %d, ", (int)getpid());
    }
    if (debug) {
        line_printf(line, "%s(), line %d: ", function, number);
    }
}

/* How much of it went out. */
static size_t write_waiting(int fd, const char *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        ssize_t done = write(fd, p + at, n - at);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            break;
        }
        at += (size_t)done;
    }
    return at;
}

static size_t write_all(int fd, const char *p, size_t n)
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
    if (torn && write_all(fd, "\n", 1) == 1) {
        torn = false;
    }
    size_t done = torn ? 0 : write_all(fd, p, n);

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

static bool emit(enum log_level level, const char *p, size_t n)
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
        write_all(STDERR_FILENO, p, n);
    }
    pthread_rwlock_unlock(&target_lock);
    return out;
}

static void count_dropped(void)
{
    atomic_fetch_add(&dropped_ever, 1);
    atomic_fetch_add(&unsaid, 1);
}

static void say_dropped(void);

void log_raw(const char *p, size_t n)
{
    struct line line;

    say_dropped();
    line_open(&line, n + 1);
    n = n < line.size ? n : line.size - 1;
    memcpy(line.p, p, n);
    line.p[n] = '\n';
    if (!emit(LEVEL_DEBUG, line.p, n + 1)) {
        count_dropped();
    }
    line_close(&line);
}

static bool emit_json(enum log_level level, const char *message, size_t n)
{
    static const char *const words[] = {
        [LEVEL_DEBUG] = "debug", [LEVEL_NOTICE] = "info", [LEVEL_WARNING] = "warn",
        [LEVEL_ERROR] = "error", [LEVEL_ALERT] = "fatal",
    };
    uint64_t wall = clock_wall_us();
    time_t seconds = (time_t)(wall / CLOCK_US_PER_SECOND);
    struct tm broken;
    char stamp[32];
    struct buf out = {0};

    gmtime_r(&seconds, &broken);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &broken);
    buf_printf(&out, "{\"ts\":\"%s.%03uZ\",\"level\":\"%s\",\"type\":\"server\",\"msg\":\"", stamp,
               (unsigned)(wall % CLOCK_US_PER_SECOND / 1000), words[level]);
    buf_json(&out, (struct str){message, n});
    buf_text(&out, "\",\"ctx\":{\"service\":\"");
    buf_json(&out, str_of(service_name));
    buf_printf(&out, "\",\"pid\":%d}}\n", (int)getpid());
    bool ok = !out.failed && emit(level, out.p, out.n);
    buf_free(&out);
    return ok;
}
>>>>>>> Stashed changes

/* The message alone, as the web server's log gets it: as long as it may be behind "LEVEL: " in a line. */
static void tap(enum log_level level, const char *format, va_list args)
{
    struct log_line line;
    log_tap_fn to = log_tap;

    log_line_open(&line, line_limit - strlen(log_level_name(level)) - strlen(": "));
    log_line_vprintf(&line, format, args);
    log_tap = NULL; /* what the receiver logs itself does not come back to it */
    to(level, line.p, line.n);
    log_tap = to;
    log_line_close(&line);
}

size_t log_prefix_size(enum log_level level, const char *function, int number)
{
    struct log_line line;

    if (log_line_is_json()) {
        return 0;
    }
    log_line_open(&line, sizeof line.stack);
    log_line_prefix(&line, level, function, number);
    size_t n = line.n;
    log_line_close(&line);
    return n;
}

/* A worker's line on its stderr: no time, because the supervisor's line around it has one. */
static void write_worker_line(enum log_level level, const char *function, int number, const char *format,
                              va_list args)
{
    struct log_line line;

    log_line_open(&line, line_limit);
    log_line_printf(&line, "%s: ", log_level_name(level));
    if (log_get_level() == LEVEL_DEBUG) {
        log_line_printf(&line, "%s(), line %d: ", function, number);
    }
    log_line_vprintf(&line, format, args);
    line.p[line.n++] = '\n';
    write_waiting(worker_fd, line.p, line.n); /* the supervisor reads, and waits for nobody */
    log_line_close(&line);
}

static bool write_json(enum log_level level, const char *message, size_t n)
{
    struct buf out = {0};

    log_line_json(&out, level, message, n);
    bool good = !out.failed && log_target_write(level, out.p, out.n);
    buf_free(&out);
    return good;
}

static bool write_line(enum log_level level, const char *function, int number, const char *format,
                       va_list args)
{
    struct log_line line;
    bool out, json = log_line_is_json();

    log_line_open(&line, line_limit);
    if (!json) {
        log_line_prefix(&line, level, function, number);
    }
    log_line_vprintf(&line, format, args);
    if (json) {
        out = write_json(level, line.p, line.n);
    } else {
        line.p[line.n++] = '\n'; /* log_line_vprintf left room for it */
        out = log_target_write(level, line.p, line.n);
    }
    log_line_close(&line);
    return out;
}

__attribute__((format(printf, 1, 2))) static bool write_warning(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    bool out = write_line(LEVEL_WARNING, __func__, __LINE__, format, args);
    va_end(args);
    return out;
}

/* At any level: who reads the log has to know that it has a gap. */
static void say_missed(void)
{
    uint32_t n = log_target_unsaid();

    if (n > 0 && !write_warning("the log did not take %u lines; they were dropped", (unsigned)n)) {
        log_target_still_unsaid(n);
    }
}

void log_raw(const char *p, size_t n)
{
    struct log_line line;

    say_missed();
    log_line_open(&line, n + 1);
    n = n < line.size ? n : line.size - 1;
    memcpy(line.p, p, n);
    line.p[n] = '\n';
    if (!log_target_write(LEVEL_DEBUG, line.p, n + 1)) {
        log_target_missed();
    }
    log_line_close(&line);
}

void log_write(enum log_level level, const char *function, int line, const char *format, ...)
{
    int saved = errno;
    va_list args;

    if (log_tap) {
        va_start(args, format);
        tap(level, format, args);
        va_end(args);
    }
    bool wanted = level >= log_get_level();
    va_start(args, format);
    if (wanted && worker_fd >= 0 && !log_as_server) {
        write_worker_line(level, function, line, format, args);
    } else if (wanted && (!log_tap || worker_fd == WORKER_AS_ALL)) {
        say_missed();
        if (!write_line(level, function, line, format, args)) {
            log_target_missed();
        }
    }
    va_end(args);
    errno = saved;
}

/* ---- limiter ---- */

#define LIMITER_WINDOW_US (10 * CLOCK_US_PER_SECOND)

bool log_limiter_allows(struct log_limiter *limiter, uint32_t burst)
{
    uint64_t now = clock_coarse_us();
    uint64_t start = limiter->window_start_us;

    if (now - start >= LIMITER_WINDOW_US &&
        atomic_compare_exchange_strong(&limiter->window_start_us, &start, now)) {
        uint32_t dropped = atomic_exchange(&limiter->dropped, 0);
        limiter->count = 0;
        if (dropped > 0) {
            log_warning("%u more lines of the following kind were left out", (unsigned)dropped);
        }
    }
    if (atomic_fetch_add(&limiter->count, 1) < burst) {
        return true;
    }
    atomic_fetch_add(&limiter->dropped, 1);
    return false;
}
