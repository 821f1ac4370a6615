/* Frames are put together on the writer's stack and leave in one write(2) each. Any thread. */
#include "engine/base/frame.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"

_Static_assert(sizeof(struct frame_head) == 80, "no padding travels");

static _Thread_local bool left_open[STDERR_FILENO + 1]; /* its last frame left a line unfinished */
static _Thread_local int own[STDERR_FILENO + 1] = {-1, -1, -1};

int frame_own(int fd)
{
    return own[fd];
}

void frame_set_own(int fd, int pipe)
{
    own[fd] = pipe;
}

/* All of it, if anybody reads: a program that inherited the pipe may have made it one that does not wait. */
static bool write_whole(int fd, const void *p, size_t n)
{
    while (write(fd, p, n) < 0) {
        struct pollfd room = {.fd = fd, .events = POLLOUT};

        if (errno == EAGAIN) {
            poll(&room, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static struct frame_head head_of(const char *request)
{
    struct frame_head head = {.mark = FRAME_MARK, .worker = log_author.worker};

    snprintf(head.request, sizeof head.request, "%s", request ? request : "");
    return head;
}

static const char *this_request(void)
{
    return log_author.find_request ? log_author.find_request() : log_author.request;
}

void frame_write(int fd, const char *p, size_t n)
{
    struct {
        struct frame_head head;
        char text[FRAME_TEXT];
    } frame = {.head = head_of(this_request())};
    bool is_stream = fd >= 0 && fd <= STDERR_FILENO;

    if (is_stream && n > 0) {
        left_open[fd] = p[n - 1] != '\n' && p[n - 1] != '\0'; /* a flush mark ends in NUL */
    }
    fd = is_stream && own[fd] >= 0 ? own[fd] : fd;
    do {
        size_t piece = n < FRAME_TEXT ? n : FRAME_TEXT;

        frame.head.n = (uint16_t)piece;
        memcpy(frame.text, p, piece);
        if (!write_whole(fd, &frame, sizeof frame.head + piece)) {
            return;
        }
        p += piece;
        n -= piece;
    } while (n > 0);
}

void frame_begin(int fd)
{
    struct frame_head head = head_of(this_request());

    if (own[fd] >= 0) {
        write_whole(own[fd], &head, sizeof head);
    }
}

/* For programs the mark goes to stderr, as php-fpm's: it ends a line of stdout as well. In the pipe of stdout
 * it could come late, and end a line of the next request. */
void frame_end(void)
{
    struct frame_head head = head_of(NULL);
    bool has_own = own[STDOUT_FILENO] >= 0 || own[STDERR_FILENO] >= 0;

    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        if (left_open[fd] || (has_own && fd == STDERR_FILENO)) {
            frame_write(fd, WORKER_FLUSH_MARK, WORKER_FLUSH_MARK_SIZE);
        }
        if (own[fd] >= 0) {
            write_whole(own[fd], &head, sizeof head);
        }
    }
}
