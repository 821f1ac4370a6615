/* What a worker says on its stderr and stdout, on the way to the supervisor: all workers of a process share
 * one pipe, which takes PIPE_BUF bytes whole and mixes what is longer. So each piece travels in a frame of at
 * most that size, and says whose it is. Beside frames there is text of programs and C libraries. */
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
/* Whether this thread's last frame to STDOUT_FILENO or STDERR_FILENO left a line unfinished. */
bool frame_left_open(int fd);

#endif
