/* The channel's wire form: one SOCK_SEQPACKET packet is one message, a fixed head and a text, with
 * descriptors beside it as SCM_RIGHTS. Used on the supervisor's thread and on the engine process's control
 * thread, each with its own end. A peer that sends nonsense loses its message, never our process: the engine
 * process runs as another user, so the supervisor believes nothing that it has not checked. */
#include "engine/supervise/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHANNEL_MAGIC 0x746b6368u
#define NONSENSE_MAX  64 /* packets that are no messages: others get their turn */

struct wire_head {
    uint32_t magic;
    uint32_t type;
    int64_t number;
};

int channel_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
}

int channel_send(int fd, enum channel_type type, int64_t number, const char *text, const int *fds,
                 int fd_count)
{
    struct wire_head head = {.magic = CHANNEL_MAGIC, .type = (uint32_t)type, .number = number};
    size_t n = text ? strlen(text) : 0;
    if (n >= CHANNEL_TEXT_MAX) {
        n = CHANNEL_TEXT_MAX - 1;
    }
    struct iovec parts[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)text, n}};
    union carried room;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n > 0 ? 2 : 1};
    if (fd_count > CHANNEL_FDS_MAX) {
        errno = EINVAL;
        return -1;
    }
    carried_put(&message, &room, fds, (size_t)fd_count);
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
}

void channel_dispose_fds(struct channel_message *message, void (*dispose)(const int *fds, size_t count))
{
    if (dispose) {
        dispose(message->fds, (size_t)message->fd_count);
    }
    for (int i = 0; !dispose && i < message->fd_count; i++) {
        close(message->fds[i]);
    }
    message->fd_count = 0;
}

void channel_close_fds(struct channel_message *message)
{
    channel_dispose_fds(message, NULL);
}

static bool head_is_good(const struct wire_head *head)
{
    return head->magic == CHANNEL_MAGIC && ((head->type >= CHANNEL_READY && head->type <= CHANNEL_ALIVE) ||
                                            (head->type >= CHANNEL_DRAIN && head->type <= CHANNEL_LEAVE));
}

int channel_receive(int fd, struct channel_message *out, void (*dispose)(const int *fds, size_t count))
{
    for (int i = 0; i < NONSENSE_MAX; i++) {
        struct wire_head head;
        struct iovec parts[2] = {{&head, sizeof(head)}, {out->text, CHANNEL_TEXT_MAX - 1}};
        union carried room;
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        carried_expect(&message, &room);
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        }
        out->fd_count = (int)carried_take(&message, out->fds);
        if (n == 0) { /* the end, or an empty packet, which may carry descriptors as well */
            channel_dispose_fds(out, dispose);
            return -1;
        }
        if ((size_t)n < sizeof(head) || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
            !head_is_good(&head)) {
            channel_dispose_fds(out, dispose);
            continue;
        }
        out->type = (enum channel_type)head.type;
        out->number = head.number;
        out->text_n = (size_t)n - sizeof(head);
        out->text[out->text_n] = '\0';
        return 1;
    }
    return 0;
}

bool channel_next_is(int fd, enum channel_type type)
{
    struct wire_head head;
    ssize_t n = recv(fd, &head, sizeof(head), MSG_DONTWAIT | MSG_PEEK);
    return n == (ssize_t)sizeof(head) && head_is_good(&head) && head.type == (uint32_t)type;
}
