/* Descriptors that an engine process sent are not closed here: what they are is the sender's choice, and the
 * last close(2) can take as long as it likes (a socket that lingers, a file system of the sender's). A
 * process of its own does that. What is still unread in a socket is such a descriptor as well. */
#ifndef ENGINE_SUPERVISE_CLOSER_H
#define ENGINE_SUPERVISE_CLOSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Supervisor's thread. None of these ever waits for a descriptor, only a moment for a process that gets no
 * processor; -1 is nothing. */
void closer_drop(int fd);
void closer_drop_all(const int *fds, size_t count);
/* All that came with a message. */
void closer_drop_carried(struct msghdr *message);
/* A socket pair's end, whose other end a process has; -1 afterwards. */
void closer_end_socket(int *fd);
/* A small file in memory: who has it need not care how it is closed. */
bool closer_is_memory(int fd);
bool closer_reaped(pid_t pid); /* whether this was one */
void closer_tick(uint64_t now);
uint64_t closer_next_us(void); /* when closer_tick has something to do; 0 = never */
void closer_finish(void);      /* at the end: none is left behind */

#endif
