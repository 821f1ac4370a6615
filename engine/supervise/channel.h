/* The channel between the supervisor and one engine process: a SOCK_SEQPACKET pair, one message a packet,
 * descriptors as SCM_RIGHTS. Both sides are non-blocking; a message never waits for the other side. A closed
 * channel tells the engine process that the supervisor is gone (it drains and ends), and the supervisor that
 * the process is. */
#ifndef ENGINE_SUPERVISE_CHANNEL_H
#define ENGINE_SUPERVISE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/carried.h"

enum channel_type {
    /* engine process -> supervisor */
    CHANNEL_READY = 1, /* PHP is up, scripts are warm, workers wait for CHANNEL_SERVE */
    CHANNEL_FAILED,    /* text: why it could not start; it exits next */
    CHANNEL_SWAP,      /* text: why it should be replaced; number: enum swap_kind of generation.h */
    CHANNEL_CRASH,     /* text: the crash report */
    CHANNEL_WARM_LIST, /* descriptor of a memfd: paths of cached scripts, one a line */
    CHANNEL_DRAINING,  /* the order was heard, by every thread that takes new work */
    CHANNEL_HAND_OVER, /* a draining process's idle connection; text: its front end; number: kind */
    CHANNEL_LOST,      /* text: why it cannot serve any more */
    CHANNEL_RESTS,     /* nothing runs and nobody is connected, for as many milliseconds already */
    CHANNEL_STIRS,     /* not so any more */
    CHANNEL_ALIVE,     /* the answer to CHANNEL_ASK */
    /* supervisor -> engine process */
    CHANNEL_DRAIN = 32, /* number: milliseconds until the supervisor kills */
    CHANNEL_STOP,       /* end now: running requests are cut */
    CHANNEL_WANT_WARM_LIST,
    CHANNEL_ADOPT,   /* as CHANNEL_HAND_OVER */
    CHANNEL_FINISH,  /* the whole server ends: nothing will replace what drains */
    CHANNEL_KEYS,    /* text: the pool's keys (pool_keys.h), the supervisor's next ones */
    CHANNEL_FORGET,  /* what it has cached is out of date: use no more of it */
    CHANNEL_SERVE,   /* take connections, from now on */
    CHANNEL_ASK,     /* are you there? */
    CHANNEL_PROFILE, /* a pipe for a profile; number: samples a second * 2^32 + milliseconds; text:
                        CHANNEL_QUIET, or none */
    CHANNEL_LEAVE,   /* the whole server ends soon: keep no connection beyond its answer */
};
#define CHANNEL_QUIET "quiet" /* see struct profile_order */

#define CHANNEL_TEXT_MAX 8192
#define CHANNEL_FDS_MAX  CARRIED_MAX

struct channel_message {
    enum channel_type type;
    int64_t number;
    int fds[CHANNEL_FDS_MAX]; /* received ones belong to the receiver */
    int fd_count;
    size_t text_n;
    char text[CHANNEL_TEXT_MAX]; /* NUL-terminated on receipt */
};

int channel_pair(int fds[2]); /* close-on-exec, non-blocking; 0 or -1 */
int channel_send(int fd, enum channel_type type, int64_t number, const char *text, const int *fds,
                 int fd_count);
/* 1 message, 0 none now, -1 closed or broken. dispose: takes the descriptors of packets that are no messages;
 * NULL = close(2), for a peer that is trusted not to send what cannot be closed at once. */
int channel_receive(int fd, struct channel_message *out, void (*dispose)(const int *fds, size_t count));
void channel_dispose_fds(struct channel_message *message, void (*dispose)(const int *fds, size_t count));
void channel_close_fds(struct channel_message *message); /* for a receiver that wants none of them */
bool channel_next_is(int fd, enum channel_type type);    /* without receiving it */

#endif
