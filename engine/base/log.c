/* The server log. Any thread may write; a line is put together on the writer's stack (log_line.c) and leaves
 * in one write(2) (log_target.c), so lines of different threads and processes never mix. The switches are
 * atomics.
 *
 * While the server serves, nobody waits for the log's reader (log_set_patience): a line that does not go out
 * at once is counted, and the next one that does is preceded by one that says how many are missing. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/frame.h"
#include "engine/base/log_private.h"
#include "engine/base/write_now.h"

#define WORKER_AS_ALL (-2)
#define LIMIT_DEFAULT 1024

static _Atomic size_t line_limit = LIMIT_DEFAULT;
static _Atomic bool buffering = true;
static _Atomic int worker_fd = WORKER_AS_ALL;
static _Atomic bool worker_records; /* not to worker_fd: to the log */
static _Atomic bool record_ids = true;

_Thread_local log_tap_fn log_tap;
_Thread_local bool log_as_server;

/* -- switches -- */

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

void log_set_worker_records(bool on)
{
    worker_records = on;
}

bool log_workers_are_read(void)
{
    return worker_fd >= 0;
}

void log_set_record_ids(bool on)
{
    record_ids = on;
}

void log_begin_anew(void)
{
    log_set_level(LEVEL_NOTICE);
    log_set_limit(LIMIT_DEFAULT);
    log_set_buffering(true);
    log_set_format(LOG_TEXT, NULL);
    log_set_record_ids(true);
    log_set_patience(LOG_PATIENCE_ENDLESS);
    log_also_stderr(false);
    log_to_fd(STDERR_FILENO);
}

bool log_buffering(void)
{
    return buffering;
}

/* -- what is written -- */

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
    if (log_author.worker) {
        frame_write(worker_fd, line.p, line.n);
    } else {
        write_waiting(worker_fd, line.p, line.n); /* the supervisor reads, and waits for nobody */
    }
    log_line_close(&line);
}

static bool write_json(enum log_level level, const char *message, size_t n, const struct log_record *record)
{
    struct buf out = {0};

    log_line_json(&out, level, message, n, record);
    bool good = !out.failed && log_target_write(level, out.p, out.n);
    buf_free(&out);
    return good;
}

/* Whose request it is about, where the thread's lines are not wrapped by one that says so. */
static void add_request(struct log_line *line)
{
    const char *request =
        worker_records && record_ids && log_author.find_request ? log_author.find_request() : NULL;

    if (request && *request) {
        log_line_printf(line, ", request %s", request);
    }
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
        out = write_json(level, line.p, line.n, NULL);
    } else {
        add_request(&line);
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
    if (wanted && worker_fd >= 0 && !log_as_server && !worker_records) {
        write_worker_line(level, function, line, format, args);
    } else if (wanted && (!log_tap || worker_fd == WORKER_AS_ALL || worker_records)) {
        say_missed();
        if (!write_line(level, function, line, format, args)) {
            log_target_missed();
        }
    }
    va_end(args);
    errno = saved;
}

/* -- records -- */

__attribute__((format(printf, 2, 3))) static void tell_tap(enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tap(level, format, args);
    va_end(args);
}

/* "ERROR: [pool www] MESSAGE, request ID, script FILE": the end has its room, whatever the message takes. */
static void put_record(struct log_line *line, const char *message, const struct log_record *record)
{
    struct log_line end;
    size_t from, most = line->size - 1;

    log_line_open(&end, sizeof end.stack);
    if (record_ids && record->request && *record->request) {
        log_line_printf(&end, ", request %s", record->request);
    }
    if (record->script) {
        log_line_printf(&end, ", script %s", record->script);
    }
    log_line_printf(line, "[pool %s] ", record->pool ? record->pool : "-");
    from = line->n;
    line->size = most > line->n + end.n + 64 ? line->size - end.n : line->size;
    log_line_printf(line, "%s", message);
    for (char *p = line->p + from; p < line->p + line->n; p++) {
        *p = *p == '\n' ? '|' : *p;
    }
    line->size = most + 1;
    log_line_printf(line, "%.*s", (int)end.n, end.p);
    log_line_close(&end);
}

static bool write_record(enum log_level level, const char *message, const struct log_record *record)
{
    struct log_line line;
    bool out;

    log_line_open(&line, line_limit);
    if (log_line_is_json()) {
        log_line_printf(&line, "%s", message);
        out = write_json(level, line.p, line.n, record);
    } else {
        log_line_prefix(&line, level, "php", 0);
        put_record(&line, message, record);
        line.p[line.n++] = '\n';
        out = log_target_write(level, line.p, line.n);
    }
    log_line_close(&line);
    return out;
}

void log_write_record(enum log_level level, const char *message, const struct log_record *record)
{
    int saved = errno;

    if (log_tap && record->told) {
        tell_tap(level, "%s", record->told);
    }
    if (level >= log_get_level()) {
        say_missed();
        if (!write_record(level, message, record)) {
            log_target_missed();
        }
    }
    errno = saved;
}

/* -- limiter -- */

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
