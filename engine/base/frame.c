/* Frames are put together on the writer's stack and leave in one write(2) each. Any thread. */
#include "engine/base/frame.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"

_Static_assert(sizeof(struct frame_head) == 80, "no padding travels");

static _Thread_local bool left_open[STDERR_FILENO + 1];

bool frame_left_open(int fd)
{
    return left_open[fd];
}

void frame_write(int fd, const char *p, size_t n)
{
    struct {
        struct frame_head head;
        char text[FRAME_TEXT];
    } frame = {.head = {.mark = FRAME_MARK, .worker = log_author.worker}};
    const char *request = log_author.find_request ? log_author.find_request() : log_author.request;

    if (fd >= 0 && fd <= STDERR_FILENO && n > 0) {
        left_open[fd] = p[n - 1] != '\n' && p[n - 1] != '\0'; /* a flush mark ends in NUL */
    }
    snprintf(frame.head.request, sizeof frame.head.request, "%s", request ? request : "");
    do {
        size_t piece = n < FRAME_TEXT ? n : FRAME_TEXT;

        frame.head.n = (uint16_t)piece;
        memcpy(frame.text, p, piece);
        while (write(fd, &frame, sizeof frame.head + piece) < 0) {
            if (errno != EINTR) {
                return;
            }
        }
        p += piece;
        n -= piece;
    } while (n > 0);
}
