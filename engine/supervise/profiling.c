/* A profile of a pool's processes, for whoever asks: each is given the end of one pipe, and writes into it
 * when it is through. Whoever has the other end waits for all of them. Supervisor's thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/supervise/channel.h"
#include "engine/supervise/state.h"
#include "engine/work/profile.h"

#define PIPE_BYTES (1 << 20)

/* With an open file of its own for each process: whether a write waits is a flag of the open file. */
static bool ask_child(const struct child *c, int write_end, int64_t number)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", write_end);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool sent = channel_send(c->channel, CHANNEL_PROFILE, number, NULL, &fd, 1) == 0;
    close(fd);
    return sent;
}

int profiling_begin(struct supervisor *s, const char *pool, unsigned seconds, unsigned hz)
{
    int ends[2], asked = 0;
    if (hz == 0) {
        return keeping_tell(s, pool, seconds);
    }
    if (seconds == 0 || seconds > PROFILE_SECONDS_MAX || hz > PROFILE_HZ_MAX || pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* what does not fit waits for its reader */
    for (struct child *c = s->children; c; c = c->next) {
        bool wanted = !pool || !*pool || strcmp(pool, c->member->name) == 0;
        if (wanted && c->channel >= 0 && c->generation->state == GENERATION_READY &&
            !c->generation->adopted) {
            int64_t number = (int64_t)((uint64_t)hz << 32 | seconds * 1000);
            asked += ask_child(c, ends[1], number);
        }
    }
    close(ends[1]);
    if (asked == 0) {
        close(ends[0]);
        return -1;
    }
    return ends[0];
}
