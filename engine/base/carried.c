/* See carried.h. */
#include "engine/base/carried.h"

#include <string.h>

void carried_put(struct msghdr *message, union carried *room, const int *fds, size_t count)
{
    size_t bytes = count * sizeof(int);

    if (count == 0) {
        return;
    }
    memset(room, 0, CMSG_SPACE(bytes));
    message->msg_control = room->space;
    message->msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *c = CMSG_FIRSTHDR(message);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), fds, bytes);
}

void carried_expect(struct msghdr *message, union carried *room)
{
    message->msg_control = room->space;
    message->msg_controllen = sizeof(room->space);
}

size_t carried_take(struct msghdr *message, int *fds)
{
    size_t count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t n = c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
                       ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int)
                       : 0;

        n = n < CARRIED_MAX - count ? n : CARRIED_MAX - count;
        memcpy(fds + count, CMSG_DATA(c), n * sizeof(int));
        count += n;
    }
    return count;
}
