/* Descriptors that a message on a unix socket carries beside its bytes (SCM_RIGHTS). Pure functions; any
 * thread. */
#ifndef ENGINE_BASE_CARRIED_H
#define ENGINE_BASE_CARRIED_H

#include <stddef.h>
#include <sys/socket.h>

#define CARRIED_MAX 253 /* what the kernel lets a message carry: it must not have to close any itself */

union carried {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * CARRIED_MAX)];
};

/* Before sendmsg(). room lasts until then; count: up to CARRIED_MAX, 0 = none. */
void carried_put(struct msghdr *message, union carried *room, const int *fds, size_t count);
/* Before recvmsg(), which is to have MSG_CMSG_CLOEXEC. */
void carried_expect(struct msghdr *message, union carried *room);
/* After it: how many there are, now the caller's. fds: room for CARRIED_MAX. */
size_t carried_take(struct msghdr *message, int *fds);

#endif
