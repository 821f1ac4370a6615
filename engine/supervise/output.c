/* The output splitter: bytes of one talker (output_sources.c) become lines, on the supervisor's thread. A
 * line ends at a newline, at the flush mark that workers send after a request (it may be cut anywhere by a
 * read), when the other stream speaks, at log_limit, and at the end of the pipe. The line buffer is bounded
 * by log_limit.
 *
 * A mark that began but turns out to be something else is ordinary text. `matched` counts the bytes of a
 * begun mark that have been swallowed so far. */
#include "engine/supervise/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/frame.h"
#include "engine/base/log.h"

#define CONTENT_LEAST 64            /* of a line, however long the pool's name */
#define SAY_FUNCTION  "output_feed" /* at debug level a line names its place: one place, one length */
#define SAY_LINE      1
#define NAME_SIZE     sizeof(((struct frame_head *)0)->request)
#define SUFFIX_SIZE   (sizeof(", request ") + NAME_SIZE)

/* Whether lines end in their request's id. Set before the first line. */
static bool names_requests = true;

struct output {
    const char *pool;
    pid_t pid;
    bool decorate;
    bool of_worker;
    char request[NAME_SIZE];   /* the worker's; "" = none */
    enum output_stream stream; /* whose text is in the line */
    size_t matched[2];         /* by stream */
    struct buf line;
};

static const char flush_mark[WORKER_FLUSH_MARK_SIZE] = WORKER_FLUSH_MARK;
static const char *const stream_names[] = {[OUTPUT_STDOUT] = "stdout", [OUTPUT_STDERR] = "stderr"};

struct output *output_create(const char *pool, pid_t pid, bool decorate)
{
    struct output *o = calloc(1, sizeof(*o));
    if (o) {
        o->pool = pool;
        o->pid = pid;
        o->decorate = decorate;
    }
    return o;
}

void output_name_requests(bool on)
{
    names_requests = on;
}

bool output_idle(const struct output *o)
{
    return o->line.n == 0 && o->matched[OUTPUT_STDOUT] == 0 && o->matched[OUTPUT_STDERR] == 0;
}

static void say(const struct output *o, char *p, size_t n, const char *suffix)
{
    if (o->of_worker) {
        log_author = (struct log_author){.worker = (int)o->pid, .request = o->request};
    }
    if (!o->decorate) {
        log_raw(p, n);
    } else if (log_get_level() <= LEVEL_WARNING) {
        for (char *nul = memchr(p, '\0', n); nul; nul = memchr(nul, '\0', n - (size_t)(nul - p))) {
            *nul = ' '; /* a NUL would end the formatted text */
        }
        log_write(LEVEL_WARNING, SAY_FUNCTION, SAY_LINE, "[pool %s] child %d said into %s: \"%.*s\"%s",
                  o->pool, (int)o->pid, stream_names[o->stream], (int)n, p, suffix);
    }
    log_author = (struct log_author){0};
}

/* Behind the text, where php-fpm says that the pipe is closed. */
static const char *suffix_of(const struct output *o, char out[SUFFIX_SIZE])
{
    out[0] = '\0';
    if (o->decorate && names_requests && *o->request) {
        snprintf(out, SUFFIX_SIZE, ", request %s", o->request);
    }
    return out;
}

/* How much text a line may carry so that it is exactly log_limit long, newline included. */
static size_t line_room(const struct output *o)
{
    char suffix[SUFFIX_SIZE];
    size_t limit = log_limit();
    size_t taken = 1;
    if (o->decorate) {
        char head[128];
        taken += strlen(o->pool) + strlen(suffix_of(o, suffix));
        taken += (size_t)snprintf(head, sizeof(head), "[pool ] child %d said into %s: \"\"", (int)o->pid,
                                  stream_names[o->stream]);
        taken += log_prefix_size(LEVEL_WARNING, SAY_FUNCTION, SAY_LINE);
    }
    return limit > taken + CONTENT_LEAST ? limit - taken : CONTENT_LEAST;
}

static void finish_line_with(struct output *o, const char *suffix)
{
    if (o->line.n > 0) {
        say(o, o->line.p, o->line.n, suffix);
        explicit_bzero(o->line.p, o->line.n); /* engine processes are copies of us */
        o->line.n = 0;
    }
}

static void finish_line(struct output *o)
{
    char suffix[SUFFIX_SIZE];

    finish_line_with(o, suffix_of(o, suffix));
}

void output_end_line(struct output *o)
{
    finish_line(o);
}

void output_is_of(struct output *o, const char *request)
{
    if (strcmp(o->request, request) != 0) {
        finish_line(o);
    }
    o->of_worker = true;
    snprintf(o->request, sizeof o->request, "%s", request);
}

static void add_text(struct output *o, const char *p, size_t n)
{
    while (n > 0) {
        size_t room = line_room(o);
        size_t free_bytes = room > o->line.n ? room - o->line.n : 0;
        size_t take = n < free_bytes ? n : free_bytes;
        buf_add(&o->line, p, take);
        if (o->line.failed) {
            buf_free(&o->line);
            return;
        }
        p += take;
        n -= take;
        if (n > 0) {
            finish_line(o);
        }
    }
}

static void turn_to(struct output *o, enum output_stream stream)
{
    if (o->stream != stream) {
        finish_line(o);
        o->stream = stream;
    }
}

/* Goes on with a mark that began in an earlier piece; returns the bytes used up. */
static size_t continue_mark(struct output *o, const char *p, size_t n)
{
    size_t *matched = &o->matched[o->stream];
    size_t i = 0;
    while (i < n && *matched < sizeof(flush_mark) && p[i] == flush_mark[*matched]) {
        i++;
        (*matched)++;
    }
    if (*matched == sizeof(flush_mark)) {
        finish_line(o);
        *matched = 0;
    } else if (i < n) {
        add_text(o, flush_mark, *matched);
        *matched = 0;
    }
    return i;
}

void output_feed(struct output *o, enum output_stream stream, const char *p, size_t n)
{
    turn_to(o, stream);
    size_t i = o->matched[stream] > 0 ? continue_mark(o, p, n) : 0;
    size_t start = i;
    while (i < n) {
        if (p[i] == '\n') {
            add_text(o, p + start, i - start);
            finish_line(o);
            start = ++i;
        } else if (p[i] == '\0') {
            add_text(o, p + start, i - start);
            i += continue_mark(o, p + i, n - i);
            start = i;
        } else {
            i++;
        }
    }
    add_text(o, p + start, n - start);
}

void output_close(struct output *o, enum output_stream stream)
{
    if (o->matched[stream] > 0) {
        turn_to(o, stream);
        add_text(o, flush_mark, o->matched[stream]);
        o->matched[stream] = 0;
    }
    if (o->stream == stream) {
        finish_line_with(o, ", pipe is closed"); /* as in php-fpm, without a request */
    }
}

void output_destroy(struct output *o)
{
    if (o) {
        buf_wipe(&o->line);
        free(o);
    }
}
