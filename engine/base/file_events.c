/* See file_events.h. */
#include "engine/base/file_events.h"

#include <unistd.h>

#define EVENTS_BYTES 16384

int file_events_open(void)
{
    return inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
}

void file_events_read(int fd, void (*each)(const struct inotify_event *event, void *ctx), void *ctx)
{
    _Alignas(struct inotify_event) char events[EVENTS_BYTES];
    ssize_t n;

    while ((n = read(fd, events, sizeof(events))) > 0) {
        for (const char *at = events; at < events + n;) {
            const struct inotify_event *event = (const void *)at;

            each(event, ctx);
            at += sizeof(*event) + event->len;
        }
    }
}
