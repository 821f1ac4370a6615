/* Which pipes a program gets where it inherits stdout or stderr: the worker's own (work/worker_output.h), so
 * that the log knows whose program said it. A script may pass the process's on under another number
 * (php://stderr as descriptor 2 or 5); such a one is known by its inode.
 *
 * program_output_find() runs on the worker's thread, the rest in the child, which uses system calls and what
 * the first has found. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/php/program.h"

#include "engine/base/frame.h"
#include "engine/base/log.h"
#include "engine/work/worker_output.h"

static ino_t pipe_inode(int fd)
{
    struct stat about;

    return fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode) ? about.st_ino : 0;
}

/* The stream whose pipe of the process this is; -1 = none. */
static int stream_of(const struct program_output *out, int fd)
{
    ino_t inode = pipe_inode(fd);

    for (int stream = STDOUT_FILENO; inode && stream <= STDERR_FILENO; stream++) {
        if (out->inodes[stream] == inode) {
            return stream;
        }
    }
    return -1;
}

static void mark_passed(struct program_output *out, HashTable *passed)
{
    zend_ulong number;

    ZEND_HASH_FOREACH_NUM_KEY(passed, number)
    {
        int stream = number <= INT_MAX ? stream_of(out, (int)number) : -1;

        if (stream >= 0) {
            out->wanted[stream] = true;
        }
    }
    ZEND_HASH_FOREACH_END();
}

/* A stream is inherited unless something else takes its number, and also if it is copied to another one. */
static void mark_inherited(struct program_output *out, const struct program_actions *actions)
{
    bool kept[STDERR_FILENO + 1] = {false, true, true};

    for (size_t i = 0; actions && i < actions->count; i++) {
        const struct program_action *a = &actions->list[i];
        int stream = a->kind == PROGRAM_DUP ? stream_of(out, a->fd) : -1;
        int taken = a->kind == PROGRAM_DUP ? a->target : a->fd;
        bool takes = a->kind == PROGRAM_DUP || a->kind == PROGRAM_OPEN || a->kind == PROGRAM_CLOSE;

        if (stream >= 0 && (a->fd != stream || kept[stream])) {
            out->wanted[stream] = true;
        }
        if (takes && taken >= 0 && taken <= STDERR_FILENO) {
            kept[taken] = false;
        }
    }
    out->wanted[STDOUT_FILENO] |= kept[STDOUT_FILENO];
    out->wanted[STDERR_FILENO] |= kept[STDERR_FILENO];
}

void program_output_find(struct program_output *out, const struct program_actions *actions, HashTable *passed)
{
    *out = (struct program_output){.own = {-1, -1, -1}};
    if (!php_thread || !log_workers_are_read()) {
        return;
    }
    for (int stream = STDOUT_FILENO; stream <= STDERR_FILENO; stream++) {
        out->inodes[stream] = pipe_inode(stream);
    }
    mark_inherited(out, actions);
    if (passed) {
        mark_passed(out, passed);
    }
    for (int stream = STDOUT_FILENO; stream <= STDERR_FILENO; stream++) {
        if (out->wanted[stream] && worker_output_own(php_thread->worker, stream)) {
            out->own[stream] = frame_own(stream);
            frame_begin(stream);
        }
    }
}

void program_output_take(const struct program_output *out)
{
    for (int stream = STDOUT_FILENO; stream <= STDERR_FILENO; stream++) {
        if (out->own[stream] >= 0) {
            dup2(out->own[stream], stream);
        }
    }
}

int program_output_instead(const struct program_output *out, int fd)
{
    int stream = stream_of(out, fd);

    return stream >= 0 && out->own[stream] >= 0 ? out->own[stream] : fd;
}
