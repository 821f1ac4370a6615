/* Who said it: an engine process's pipe carries frames of its workers, and between them text of nobody in
 * particular. Each worker has lines of its own, so that none is mixed with another's, whatever its length.
 *
 * A frame may be cut anywhere by a read. Its head is the process's word, and trusted for no more than a name
 * and a length: a frame that a script makes up is a line with another number. Supervisor's thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/frame.h"
#include "engine/base/log.h"
#include "engine/supervise/output.h"

#define READ_SIZE   4096
#define WORKERS_MAX 256 /* remembered; then those are forgotten that have no unfinished line */

struct source {
    struct source *next;
    struct output *lines;
    int32_t worker;
};

/* What of a frame has come so far. */
struct arrival {
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
    struct arrival arrivals[2]; /* by stream */
};

static const char mark[FRAME_MARK_SIZE] = FRAME_MARK;

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
    for (int stream = 0; stream < 2; stream++) {
        if (s->arrivals[stream].of == gone) {
            s->arrivals[stream].of = NULL;
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

static void begin_text(struct output_sources *s, struct arrival *a)
{
    end_name(a->head.request, sizeof a->head.request);
    a->head_n = 0;
    a->left = a->head.n <= FRAME_TEXT ? a->head.n : 0;
    a->of = find(s, a->head.worker);
    if (a->of) {
        output_is_of(a->of->lines, a->head.request);
    }
}

/* Each returns how many bytes it has used. */
static size_t take_text(struct output_sources *s, enum output_stream stream, const char *p, size_t n)
{
    struct arrival *a = &s->arrivals[stream];
    size_t take = n < a->left ? n : a->left;

    output_feed(a->of ? a->of->lines : s->rest, stream, p, take);
    a->left -= take;
    return take;
}

static size_t take_head(struct output_sources *s, struct arrival *a, const char *p, size_t n)
{
    size_t wanted = sizeof a->head - a->head_n, take = n < wanted ? n : wanted;

    memcpy((char *)&a->head + a->head_n, p, take);
    a->head_n += take;
    if (a->head_n == sizeof a->head) {
        begin_text(s, a);
    }
    return take;
}

/* Up to a mark and into it. What began like one and is none is text. */
static size_t take_rest(struct output_sources *s, enum output_stream stream, const char *p, size_t n)
{
    struct arrival *a = &s->arrivals[stream];

    if (a->head_n == 0) {
        const char *nul = memchr(p, '\0', n);
        size_t text = nul ? (size_t)(nul - p) : n;

        if (text > 0) {
            output_feed(s->rest, stream, p, text);
            return text;
        }
    }
    if (p[0] == mark[a->head_n]) {
        a->head.mark[a->head_n++] = p[0];
        return 1;
    }
    output_feed(s->rest, stream, mark, a->head_n);
    a->head_n = 0;
    return 0;
}

void output_sources_feed(struct output_sources *s, enum output_stream stream, const char *p, size_t n)
{
    struct arrival *a = &s->arrivals[stream];

    while (n > 0) {
        size_t used = a->left > 0                    ? take_text(s, stream, p, n)
                      : a->head_n >= FRAME_MARK_SIZE ? take_head(s, a, p, n)
                                                     : take_rest(s, stream, p, n);
        p += used;
        n -= used;
    }
}

/* -- the end -- */

void output_sources_close(struct output_sources *s, enum output_stream stream)
{
    struct arrival *a = &s->arrivals[stream];

    if (a->head_n > 0 && a->head_n < FRAME_MARK_SIZE) {
        output_feed(s->rest, stream, mark, a->head_n);
    }
    *a = (struct arrival){0};
    for (struct source *w = s->workers; w; w = w->next) {
        output_close(w->lines, stream);
    }
    output_close(s->rest, stream);
}

void output_sources_destroy(struct output_sources *s)
{
    if (!s) {
        return;
    }
    while (s->workers) {
        forget(s, &s->workers);
    }
    output_destroy(s->rest);
    free(s);
}

bool output_sources_read(struct output_sources *s, enum output_stream stream, int fd, int rounds)
{
    char piece[READ_SIZE];

    while (rounds-- > 0) {
        ssize_t n = read(fd, piece, sizeof piece);

        if (n > 0) {
            output_sources_feed(s, stream, piece, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        } else {
            if (n < 0) {
                log_sys(LEVEL_ERROR, "unable to read what child %d said into %s", (int)s->pid,
                        stream == OUTPUT_STDERR ? "stderr" : "stdout");
            }
            output_sources_close(s, stream);
            return false;
        }
    }
    return true;
}
