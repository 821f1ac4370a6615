/* Descriptors that an engine process sent are closed by a thread of their own: what they are is the sender's
 * choice, and closing can take as long as it likes (a socket that lingers, a file system of the sender's).
 * The supervisor must not wait for that. */
#ifndef ENGINE_SUPERVISE_CLOSER_H
#define ENGINE_SUPERVISE_CLOSER_H

#include <sys/socket.h>

/* Supervisor's thread. Never waits for the descriptor; -1 is nothing. */
void closer_drop(int fd);
/* All that came with a message. */
void closer_drop_carried(struct msghdr *message);

#endif
