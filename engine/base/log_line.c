/* A line of the log as text: "[time] LEVEL: message", or one JSON object. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log_private.h"

_Thread_local struct log_author log_author;

#define ELLIPSIS "..."

static _Atomic int threshold = LEVEL_NOTICE; /* decides what a line tells, too */
static _Atomic bool timestamps = true;
static _Atomic int line_format = LOG_TEXT;
static char service_name[64]; /* set before other threads exist */

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {
        [LEVEL_DEBUG] = "DEBUG", [LEVEL_NOTICE] = "NOTICE", [LEVEL_WARNING] = "WARNING",
        [LEVEL_ERROR] = "ERROR", [LEVEL_ALERT] = "ALERT",
    };
    return level >= LEVEL_DEBUG && level <= LEVEL_ALERT ? names[level] : "unknown value";
}

void log_set_level(enum log_level level)
{
    threshold = (int)level;
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
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

bool log_line_is_json(void)
{
    return line_format == LOG_JSON;
}

void log_line_open(struct log_line *line, size_t size)
{
    char *heap = size > sizeof line->stack ? malloc(size) : NULL;

    line->p = heap ? heap : line->stack;
    line->size = heap || size <= sizeof line->stack ? size : sizeof line->stack;
    line->n = 0;
}

void log_line_close(struct log_line *line)
{
    if (line->p != line->stack) {
        free(line->p);
    }
}

void log_line_vprintf(struct log_line *line, const char *format, va_list args)
{
    size_t room = line->size - line->n;
    int n = vsnprintf(line->p + line->n, room, format, args);

    if (n > 0 && (size_t)n < room) {
        line->n += (size_t)n;
    } else if (n > 0) { /* cut: the last byte of the room is left for the newline */
        line->n = line->size - 1;
        memcpy(line->p + line->n - strlen(ELLIPSIS), ELLIPSIS, strlen(ELLIPSIS));
    }
}

void log_line_printf(struct log_line *line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line_vprintf(line, format, args);
    va_end(args);
}

static void add_time(struct log_line *line)
{
    struct timespec now;
    struct tm broken;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &broken);
    strftime(text, sizeof text, "%d-%b-%Y %H:%M:%S", &broken);
    log_line_printf(line, "[%s", text);
    if (log_get_level() == LEVEL_DEBUG) {
        log_line_printf(line, ".%06ld", now.tv_nsec / 1000);
    }
    log_line_printf(line, "] ");
}

void log_line_prefix(struct log_line *line, enum log_level level, const char *function, int number)
{
    bool debug = log_get_level() == LEVEL_DEBUG;

    if (log_fd() < 0) {
        log_line_printf(line, "[%s] ", log_level_name(level));
        if (debug) {
            log_line_printf(line, "%s(), line %d: ", function, number);
        }
        return;
    }
    if (timestamps) {
        add_time(line);
    }
    log_line_printf(line, "%s: ", log_level_name(level));
    if (debug && timestamps) {
        log_line_printf(line, "pid %d, ", (int)getpid());
    }
    if (debug) {
        log_line_printf(line, "%s(), line %d: ", function, number);
    }
}

static void add_member(struct buf *out, const char *name, const char *value)
{
    if (value) {
        buf_printf(out, ",\"%s\":\"", name);
        buf_json(out, str_of(value));
        buf_text(out, "\"");
    }
}

static void add_record(struct buf *out, const struct log_record *record)
{
    add_member(out, "pool", record->pool);
    add_member(out, "script", record->script);
    add_member(out, "file", record->file);
    if (record->line) {
        buf_printf(out, ",\"line\":%d", record->line);
    }
}

void log_line_json(struct buf *out, enum log_level level, const char *message, size_t n,
                   const struct log_record *record)
{
    static const char *const words[] = {
        [LEVEL_DEBUG] = "debug", [LEVEL_NOTICE] = "info", [LEVEL_WARNING] = "warn",
        [LEVEL_ERROR] = "error", [LEVEL_ALERT] = "fatal",
    };
    uint64_t wall = clock_wall_us();
    time_t seconds = (time_t)(wall / CLOCK_US_PER_SECOND);
    struct tm broken;
    char stamp[32];

    gmtime_r(&seconds, &broken);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &broken);
    buf_printf(out, "{\"ts\":\"%s.%03uZ\",\"level\":\"%s\",\"type\":\"%s\",\"msg\":\"", stamp,
               (unsigned)(wall % CLOCK_US_PER_SECOND / 1000), words[level], record ? "php" : "server");
    buf_json(out, (struct str){message, n});
    buf_text(out, "\",\"ctx\":{\"service\":\"");
    buf_json(out, str_of(service_name));
    buf_printf(out, "\",\"pid\":%d", (int)getpid());
    if (log_author.worker) {
        const char *request = log_author.find_request ? log_author.find_request() : log_author.request;

        buf_printf(out, ",\"worker\":%d,\"request_id\":\"", log_author.worker);
        buf_json(out, str_of(request ? request : ""));
        buf_text(out, "\"");
    }
    if (record) {
        add_record(out, record);
    }
    buf_text(out, "}}\n");
}
