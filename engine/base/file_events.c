/* See file_events.h. */
#include "engine/base/file_events.h"

#include <unistd.h>

#define EVENTS_BYTES 16384
#define READS_MOST   16 /* who changes files without end keeps nobody from what else he has to do */

int file_events_open(void)
{
    return inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
}

void file_events_read(int fd, void (*each)(const struct inotify_event *event, void *ctx), void *ctx)
{
    _Alignas(struct inotify_event) char events[EVENTS_BYTES];
    ssize_t n;

    for (int i = 0; i < READS_MOST && (n = read(fd, events, sizeof(events))) > 0; i++) {
        for (const char *at = events; at < events + n;) {
            const struct inotify_event *event = (const void *)at;

            each(event, ctx);
            at += sizeof(*event) + event->len;
        }
    }
}
