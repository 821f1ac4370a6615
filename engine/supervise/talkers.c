/* What engine processes say on stdout and stderr: a pipe each for the process, and others of single workers,
 * whose programs inherit them. The process asks for such a pipe (lookout.h) and gets the end to write to; the
 * end that is read here is of our making, so nobody can have us wait for it.
 *
 * A pipe ends when nobody can write to it any more, so one that a program has kept outlives its worker, and
 * none outlives its process. They are served in the order of their making: what a worker has said into the
 * process's pipe before it got one of its own is read before. Supervisor's thread. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/supervise/state.h"

#define ROUNDS_OF_PROCESS 16 /* reads of one pipe before others get their turn; a pipe holds as many */
#define ROUNDS_OF_WORKER  4
#define ROUNDS_OF_WORKERS 32  /* of all of them together in one turn of the loop, */
#define ROUNDS_AT_END     256 /* and when their process is gone */
#define SPARE_PIPES       32 /* beside two a worker: those of workers that are gone may live on in programs */

struct talker *talker_add(struct child *child, enum output_stream stream, int32_t worker, int fd)
{
    if (fd < 0) {
        return NULL;
    }
    struct talker *t = calloc(1, sizeof(*t));
    struct talker **link = &child->talkers;
    if (!t || !child->output || !(t->pipe = output_pipe_open(child->output, stream, worker))) {
        free(t);
        close(fd);
        return NULL;
    }
    t->child = child;
    t->stream = stream;
    t->worker = worker;
    t->fd = fd;
    while (*link) {
        link = &(*link)->next;
    }
    *link = t;
    return t;
}

static void end(struct talker *t)
{
    struct talker **link = &t->child->talkers;
    while (*link != t) {
        link = &(*link)->next;
    }
    *link = t->next;
    output_pipe_close(t->pipe);
    close(t->fd);
    free(t);
}

/* False: it is at its end. left: how much of workers' pipes may still be read. */
static bool read_some(const struct talker *t, int most, int *left)
{
    int may = t->worker && *left < most ? *left : most, rounds = may;
    bool open = output_pipe_read(t->pipe, t->fd, &rounds);
    *left -= t->worker ? may - rounds : 0;
    return open;
}

/* The next turn begins with this one: those before it had theirs. */
static void put_first(struct talker *t)
{
    struct talker **first = &t->child->talkers;
    while (*first && (*first)->worker == 0) {
        first = &(*first)->next;
    }
    struct talker *served = *first, **link = first;
    while (*link != t) {
        link = &(*link)->next;
    }
    *link = NULL;
    *first = t;
    while (t->next) {
        t = t->next;
    }
    t->next = served != *first ? served : NULL;
}

void talkers_begin_turn(struct child *child)
{
    child->rounds = ROUNDS_OF_WORKERS;
}

void talker_read(struct talker *t)
{
    struct child *child = t->child;
    if (t->worker && child->rounds <= 0) {
        if (child->rounds == 0) {
            put_first(t);
        }
        child->rounds = -1;
    } else if (!read_some(t, t->worker ? ROUNDS_OF_WORKER : ROUNDS_OF_PROCESS, &child->rounds)) {
        end(t);
    }
}

/* A program may still hold the other end of any. */
void talkers_end(struct child *child)
{
    int left = ROUNDS_AT_END;
    while (child->talkers) {
        struct talker *t = child->talkers;
        read_some(t, ROUNDS_OF_PROCESS, &left);
        end(t);
    }
}

void talkers_settle(struct child *child)
{
    for (struct talker *t = child->talkers; t; t = t->next) {
        output_pipe_settle(t->pipe, t->fd);
    }
}

int talker_fd(const struct child *child, enum output_stream stream)
{
    for (const struct talker *t = child->talkers; t; t = t->next) {
        if (t->worker == 0 && t->stream == stream) {
            return t->fd;
        }
    }
    return -1;
}

/* -- those of workers -- */

/* Half of our descriptors are for everything else. */
static bool may_have_another(const struct child *child, int fd)
{
    struct rlimit files;
    size_t most = 2 * (size_t)child->board_size.slots + SPARE_PIPES, count = 0;
    for (const struct talker *t = child->talkers; t; t = t->next) {
        count += t->worker != 0;
    }
    return count < most && getrlimit(RLIMIT_NOFILE, &files) == 0 && (rlim_t)fd < files.rlim_cur / 2;
}

int talker_pipe(struct child *child, enum output_stream stream, int32_t worker)
{
    int ends[2];
    if (worker <= 0 || talker_fd(child, stream) < 0 || pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    if (!may_have_another(child, ends[0]) || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    talker_add(child, stream, worker, ends[0]);
    return ends[1];
}
