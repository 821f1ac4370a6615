/* What a worker says on its stderr and stdout, on the way to the supervisor: all workers of a process share
 * one pipe, which takes PIPE_BUF bytes whole and mixes what is longer. So each piece travels in a frame of at
 * most that size, and says whose it is. Beside frames there is text of C libraries.
 *
 * A worker whose programs inherit the streams has pipes of its own for them (work/worker_output.c). There
 * text in no frame is its programs', and of the request that the last empty frame names. */
#ifndef ENGINE_BASE_FRAME_H
#define ENGINE_BASE_FRAME_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MARK      "\0fscw"
#define FRAME_MARK_SIZE 6

struct frame_head {
    char mark[FRAME_MARK_SIZE];
    uint16_t n;       /* bytes that follow */
    int32_t worker;   /* its thread's id */
    char request[68]; /* the request's id, a NUL behind it; "" = none */
};
#define FRAME_TEXT (PIPE_BUF - sizeof(struct frame_head))

/* With catch_workers_output a worker writes this to its stderr after a request: what stands there without a
 * newline is a line. The supervisor reads it (supervise/output.c); php-fpm's mark, its NUL included. */
#define WORKER_FLUSH_MARK      "\0fscf"
#define WORKER_FLUSH_MARK_SIZE 6

/* Text of the calling worker (log_author), in as many frames as it takes. Waits for the reader. */
void frame_write(int fd, const char *p, size_t n);

/* -- of this thread; fd is STDOUT_FILENO or STDERR_FILENO -- */

int frame_own(int fd); /* the pipe that its frames go to instead; -1 = none */
void frame_set_own(int fd, int pipe);
void frame_begin(int fd); /* what programs say from now on is of this thread's request */
void frame_end(void);     /* this request's last line is at its end, and what comes is of none */

#endif
