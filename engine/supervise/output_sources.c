/* Who said it: an engine process's pipe carries frames of its workers, and between them text of nobody in
 * particular; what comes through a worker's own pipe is the worker's, framed or not. Each worker has lines of
 * its own, so that none is mixed with another's, whatever its length.
 *
 * A frame may be cut anywhere by a read. Its head is the process's word, and trusted for no more than a name
 * and a length: a frame that a script makes up is a line with another number. Supervisor's thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/frame.h"
#include "engine/base/log.h"
#include "engine/supervise/output.h"

#define READ_SIZE   4096
#define CUTS_MAX    8   /* in a frame: its mark, its head, its text */
#define WORKERS_MAX 256 /* remembered; then those are forgotten that have no unfinished line */

struct source {
    struct source *next;
    struct output *lines;
    int32_t worker;
};

/* One pipe, and what of a frame has come so far. */
struct output_pipe {
    struct output_pipe *next;
    struct output_sources *sources;
    enum output_stream stream;
    int32_t worker;                                          /* whose it is; 0 = all workers' */
    char request[sizeof(((struct frame_head *)0)->request)]; /* of what is in no frame, in a worker's own */
    struct frame_head head;
    size_t head_n;     /* bytes of it */
    size_t left;       /* bytes of text that are still to come */
    struct source *of; /* NULL = no memory for it: the process's */
};

struct output_sources {
    const char *pool;
    pid_t pid;
    bool decorate;
    struct output *rest;    /* what is in no frame */
    struct source *workers; /* who spoke last is first */
    size_t count;
    struct output_pipe *pipes; /* all that are open */
};

static const char mark[FRAME_MARK_SIZE] = FRAME_MARK;

struct output_pipe *output_pipe_open(struct output_sources *s, enum output_stream stream, int32_t worker)
{
    struct output_pipe *pipe = calloc(1, sizeof *pipe);

    if (pipe) {
        pipe->sources = s;
        pipe->stream = stream;
        pipe->worker = worker;
        pipe->next = s->pipes;
        s->pipes = pipe;
    }
    return pipe;
}

struct output_sources *output_sources_create(const char *pool, pid_t pid, bool decorate)
{
    struct output_sources *s = calloc(1, sizeof *s);

    if (s) {
        s->pool = pool;
        s->pid = pid;
        s->decorate = decorate;
        s->rest = output_create(pool, pid, decorate);
    }
    if (s && !s->rest) {
        free(s);
        s = NULL;
    }
    return s;
}

/* -- workers -- */

static void forget(struct output_sources *s, struct source **link)
{
    struct source *gone = *link;

    *link = gone->next;
    for (struct output_pipe *pipe = s->pipes; pipe; pipe = pipe->next) {
        if (pipe->of == gone) {
            pipe->of = NULL;
        }
    }
    output_destroy(gone->lines);
    free(gone);
    s->count--;
}

static void forget_idle(struct output_sources *s)
{
    for (struct source **link = &s->workers; *link;) {
        if (output_idle((*link)->lines)) {
            forget(s, link);
        } else {
            link = &(*link)->next;
        }
    }
}

static struct source *add(struct output_sources *s, int32_t worker)
{
    if (s->count >= WORKERS_MAX) {
        forget_idle(s);
    }
    struct source *new = s->count < WORKERS_MAX ? calloc(1, sizeof *new) : NULL;

    if (!new) {
        return NULL;
    }
    new->lines = output_create(s->pool, worker, s->decorate);
    if (!new->lines) {
        free(new);
        return NULL;
    }
    new->worker = worker;
    new->next = s->workers;
    s->workers = new;
    s->count++;
    return new;
}

static struct source *find(struct output_sources *s, int32_t worker)
{
    for (struct source **link = &s->workers; *link; link = &(*link)->next) {
        struct source *found = *link;

        if (found->worker == worker) {
            *link = found->next;
            found->next = s->workers;
            s->workers = found;
            return found;
        }
    }
    return add(s, worker);
}

/* -- frames -- */

/* A frame that a program makes up could say anything; what is in no request's id ends it. */
static void end_name(char *name, size_t size)
{
    size_t n = 0;

    while (n < size - 1 && name[n] > ' ' && name[n] <= '~' && name[n] != '"' && name[n] != ',') {
        n++;
    }
    name[n] = '\0';
}

/* An empty frame of a worker in its own pipe says whose what follows outside of frames is; it ends no line,
 * for the worker's other stream may be ahead. */
static void begin_text(struct output_pipe *pipe)
{
    end_name(pipe->head.request, sizeof pipe->head.request);
    pipe->head_n = 0;
    pipe->left = pipe->head.n <= FRAME_TEXT ? pipe->head.n : 0;
    if (pipe->worker && pipe->head.n == 0) {
        memcpy(pipe->request, pipe->head.request, sizeof pipe->request);
        return;
    }
    pipe->of = find(pipe->sources, pipe->worker ? pipe->worker : pipe->head.worker);
    if (pipe->of) {
        output_is_of(pipe->of->lines, pipe->head.request);
    }
}

static void feed_rest(struct output_pipe *pipe, const char *p, size_t n)
{
    struct source *of = pipe->worker && n > 0 ? find(pipe->sources, pipe->worker) : NULL;

    if (of) {
        output_is_of(of->lines, pipe->request);
    }
    output_feed(of ? of->lines : pipe->sources->rest, pipe->stream, p, n);
}

/* Each returns how many bytes it has used. */
static size_t take_text(struct output_pipe *pipe, const char *p, size_t n)
{
    size_t take = n < pipe->left ? n : pipe->left;

    output_feed(pipe->of ? pipe->of->lines : pipe->sources->rest, pipe->stream, p, take);
    pipe->left -= take;
    return take;
}

static size_t take_head(struct output_pipe *pipe, const char *p, size_t n)
{
    size_t wanted = sizeof pipe->head - pipe->head_n, take = n < wanted ? n : wanted;

    memcpy((char *)&pipe->head + pipe->head_n, p, take);
    pipe->head_n += take;
    if (pipe->head_n == sizeof pipe->head) {
        begin_text(pipe);
    }
    return take;
}

/* Up to a mark and into it. What began like one and is none is text. */
static size_t take_rest(struct output_pipe *pipe, const char *p, size_t n)
{
    if (pipe->head_n == 0) {
        const char *nul = memchr(p, '\0', n);
        size_t text = nul ? (size_t)(nul - p) : n;

        if (text > 0) {
            feed_rest(pipe, p, text);
            return text;
        }
    }
    if (p[0] == mark[pipe->head_n]) {
        pipe->head.mark[pipe->head_n++] = p[0];
        return 1;
    }
    feed_rest(pipe, mark, pipe->head_n);
    pipe->head_n = 0;
    return 0;
}

void output_pipe_feed(struct output_pipe *pipe, const char *p, size_t n)
{
    while (n > 0) {
        size_t used = pipe->left > 0                    ? take_text(pipe, p, n)
                      : pipe->head_n >= FRAME_MARK_SIZE ? take_head(pipe, p, n)
                                                        : take_rest(pipe, p, n);
        p += used;
        n -= used;
    }
}

/* -- the end -- */

/* The process's own is the end of all its workers' lines. */
static void end_lines(const struct output_pipe *pipe)
{
    struct output_sources *s = pipe->sources;

    for (struct source *w = s->workers; w; w = w->next) {
        if (!pipe->worker || pipe->worker == w->worker) {
            output_close(w->lines, pipe->stream);
        }
    }
    if (!pipe->worker) {
        output_close(s->rest, pipe->stream);
    }
}

void output_pipe_close(struct output_pipe *pipe)
{
    if (pipe->head_n > 0 && pipe->head_n < FRAME_MARK_SIZE) {
        feed_rest(pipe, mark, pipe->head_n);
    }
    end_lines(pipe);
    struct output_pipe **link = &pipe->sources->pipes;

    while (*link != pipe) {
        link = &(*link)->next;
    }
    *link = pipe->next;
    free(pipe);
}

void output_sources_destroy(struct output_sources *s)
{
    if (!s) {
        return;
    }
    while (s->pipes) {
        struct output_pipe *pipe = s->pipes;

        s->pipes = pipe->next;
        free(pipe);
    }
    while (s->workers) {
        forget(s, &s->workers);
    }
    output_destroy(s->rest);
    free(s);
}

bool output_pipe_read(struct output_pipe *pipe, int fd, int *rounds)
{
    char piece[READ_SIZE];

    while (*rounds > 0) {
        ssize_t n = read(fd, piece, sizeof piece);

        if (n > 0) {
            --*rounds;
            output_pipe_feed(pipe, piece, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        } else {
            if (n < 0) {
                log_sys(LEVEL_ERROR, "unable to read what child %d said into %s",
                        (int)(pipe->worker ? pipe->worker : pipe->sources->pid),
                        pipe->stream == OUTPUT_STDERR ? "stderr" : "stdout");
            }
            return false;
        }
    }
    return true;
}

/* -- handing on -- */

/* How much is missing until a frame begins or ends. */
static size_t missing(const struct output_pipe *pipe)
{
    size_t head = pipe->head_n >= FRAME_MARK_SIZE ? sizeof pipe->head : FRAME_MARK_SIZE;

    return pipe->left > 0 ? pipe->left : pipe->head_n > 0 ? head - pipe->head_n : 0;
}

void output_pipe_settle(struct output_pipe *pipe, int fd)
{
    char piece[FRAME_TEXT + sizeof(struct frame_head)];

    for (int i = 0; i < CUTS_MAX && missing(pipe) > 0; i++) { /* a frame is written as a whole: it is there */
        ssize_t n = read(fd, piece, missing(pipe));

        output_pipe_feed(pipe, piece, n > 0 ? (size_t)n : 0);
    }
    for (struct source *w = pipe->sources->workers; w; w = w->next) {
        output_end_line(w->lines);
    }
    output_end_line(pipe->sources->rest);
}

const char *output_pipe_request(const struct output_pipe *pipe)
{
    return pipe->request;
}

void output_pipe_set_request(struct output_pipe *pipe, const char *request)
{
    snprintf(pipe->request, sizeof pipe->request, "%s", request);
}
