/* The access log. A line is composed on its thread's stack and goes to the log's writer (log_writer.h), or,
 * where none was started, out in one write(2).
 *
 * Worker and loop threads put lines in; any thread may exchange the descriptor, which stays its owner's. */
#include "engine/telemetry/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/telemetry/access_format.h"
#include "engine/telemetry/access_line.h"
#include "engine/telemetry/log_writer.h"

#define PATIENCE_MS 50 /* for a pipe that is full: once, until something fits again */

enum form { FORM_FPM, FORM_JSON, FORM_COMBINED };

struct access_log {
    _Atomic int fd;
    enum form form;
    char service[ACCESS_LINE_SERVICE]; /* in JSON lines */
    size_t service_n;
    struct log_writer *writer;    /* NULL: whoever makes a line writes it */
    struct access_format *format; /* FORM_FPM */
    const struct setting_pair *suppress;
    bool wants_cpu;
    void (*dropped)(void *ctx, uint64_t lines);
    void *ctx;
    _Atomic bool stuck; /* the last line did not fit, and was waited for */
};

struct access_log *access_log_create(int fd, const char *format, const struct setting_pair *suppress)
{
    char error[256];
    struct access_log *log = fd >= 0 ? calloc(1, sizeof(*log)) : NULL;

    if (!log) {
        return NULL;
    }
    log->form = strcmp(format, "json") == 0       ? FORM_JSON
                : strcmp(format, "combined") == 0 ? FORM_COMBINED
                                                  : FORM_FPM;
    log->format = log->form == FORM_FPM ? access_format_create(format, error, sizeof(error)) : NULL;
    if (log->form == FORM_FPM && !log->format) {
        log_warning("%s", error);
        free(log);
        return NULL;
    }
    log->wants_cpu = log->format && access_format_has(log->format, 'C');
    log->fd = fd;
    log->suppress = suppress;
    log->service_n = access_line_service(NULL, log->service);
    return log;
}

/* A write waits for no reader. */
static bool never_blocks(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 &&
           (S_ISREG(st.st_mode) || (S_ISFIFO(st.st_mode) && (fcntl(fd, F_GETFL) & O_NONBLOCK)));
}

int access_log_start(struct access_log *log, const char *service, void (*dropped)(void *ctx, uint64_t lines),
                     void *ctx)
{
    log->service_n = access_line_service(service, log->service);
    log->dropped = dropped;
    log->ctx = ctx;
    if (log->form == FORM_FPM && never_blocks(log->fd)) {
        return 0;
    }
    log->writer = log_writer_create(&log->fd, "access log", dropped, ctx);
    return log->writer ? 0 : -1;
}

void access_log_stop(struct access_log *log, unsigned wait_ms)
{
    if (log && log->writer) {
        log_writer_stop(log->writer, wait_ms);
    }
}

void access_log_destroy(struct access_log *log)
{
    if (log) {
        if (log->writer) {
            log_writer_destroy(log->writer);
        }
        if (log->format) {
            access_format_destroy(log->format);
        }
        free(log);
    }
}

bool access_log_wants_cpu(const struct access_log *log)
{
    return log && log->wants_cpu;
}

bool access_log_shows_usage(const struct access_log *log)
{
    return log && (log->wants_cpu || (log->format && access_format_has(log->format, 'M')));
}

bool access_log_waits(const struct access_log *log)
{
    return log && log->form != FORM_FPM;
}

/* access.suppress_path: only what a health check looks like. */
static bool suppressed(const struct access_log *log, const struct request *r)
{
    if (!log->suppress || !r->method || !r->uri || *r->query || r->content_length > 0 || r->status < 200 ||
        r->status > 299 || (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0)) {
        return false;
    }
    for (const struct setting_pair *p = log->suppress; p; p = p->next) {
        if (strcmp(p->value, r->uri) == 0) {
            return true;
        }
    }
    return false;
}

static void write_line(struct access_log *log, int fd, const char *text, size_t n)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    ssize_t done = write(fd, text, n);

    if (done < 0 && errno == EAGAIN && !atomic_exchange(&log->stuck, true) &&
        poll(&room, 1, PATIENCE_MS) > 0) {
        done = write(fd, text, n);
    }
    if (done > 0) {
        atomic_store_explicit(&log->stuck, false, memory_order_relaxed);
    } else if (errno != EAGAIN) {
        log_limited(LEVEL_WARNING, "cannot write to the access log");
    }
    if (done < (ssize_t)n && log->dropped) {
        log->dropped(log->ctx, 1);
    }
}

static void put(struct access_log *log, int fd, const char *text, size_t n)
{
    if (log->writer) {
        log_writer_put(log->writer, text, n);
    } else {
        write_line(log, fd, text, n);
    }
}

void access_log_write(struct access_log *log, struct request *r, const struct access_facts *facts)
{
    int fd = log ? atomic_load(&log->fd) : -1;
    char text[ACCESS_LINE_MAX];

    if (fd < 0 || suppressed(log, r)) {
        return;
    }
    switch (log->form) {
    case FORM_FPM: put(log, fd, text, access_format_line(log->format, r, facts, text)); break;
    case FORM_JSON:
        put(log, fd, text, access_line_json(r, facts, (struct str){log->service, log->service_n}, text));
        break;
    case FORM_COMBINED: put(log, fd, text, access_line_combined(r, facts, text)); break;
    }
}
