/* Changes of files as the kernel tells them (inotify). Which of them matter is the caller's. One thread. */
#ifndef ENGINE_BASE_FILE_EVENTS_H
#define ENGINE_BASE_FILE_EVENTS_H

#include <sys/inotify.h>

int file_events_open(void); /* the caller's descriptor, readable when there is news; -1 with errno */
/* Reads what there is, but not for ever: then the descriptor stays readable. An event lives as long as the
 * call. */
void file_events_read(int fd, void (*each)(const struct inotify_event *event, void *ctx), void *ctx);

#endif
