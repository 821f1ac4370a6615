/* An engine process asks its supervisor what the whole server does: a SOCK_SEQPACKET pair of its own beside
 * the channel, so that any thread can ask and wait for the answer, also while the control thread is stuck.
 * Only the supervisor reads boards of other processes; what it answers is a view (telemetry/view.h), of the
 * pool alone, or of all pools if the pool has a listener that shows them. */
#ifndef ENGINE_SUPERVISE_LOOKOUT_H
#define ENGINE_SUPERVISE_LOOKOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/telemetry/view.h"

enum lookout_kind {
    LOOKOUT_VIEW = 1, /* answer: a view's file, or none: it is another build that asks */
    LOOKOUT_WORKERS,  /* answer: how many workers all other pools have */
    LOOKOUT_HISTORY,  /* answer: a file of JSON, of the pools that a view would have */
    LOOKOUT_SCRIPTS,  /* the same */
    LOOKOUT_RESTART,  /* `pool`, for whoever knows the token of the asking pool's pages; answer: 1 = done */
    LOOKOUT_RELOAD,   /* the same */
    LOOKOUT_PROFILE,  /* of `pool`, for so many seconds; answer: a pipe, or none */
    LOOKOUT_TALKER,   /* for what programs of `worker` say; answer: a pipe's end to write to, or none */
};
#define LOOKOUT_TEXT_MAX (8u << 20)

struct lookout_question {
    uint32_t magic, kind;
    uint64_t number; /* the answer has the same */
    char layout[VIEW_LAYOUT_MAX];
    char pool[VIEW_NAME_MAX], token[256]; /* of an order */
    union {
        uint32_t seconds; /* of a profile */
        int32_t worker;   /* a thread's id */
    };
    union {
        uint32_t hz;     /* of a profile */
        uint32_t stream; /* enum output_stream */
    };
};

int lookout_pair(int fds[2]); /* close-on-exec, non-blocking; 0 or -1. The first is the supervisor's */

/* -- supervisor: never waits -- */
int lookout_hear(int fd, struct lookout_question *out); /* 1, 0 nothing now, -1 closed */
/* view_fd: -1 = none; stays the caller's. Who leaves some answers unread gets no more of them. */
void lookout_answer(int fd, const struct lookout_question *question, uint64_t count, int view_fd);

/* -- engine process, any thread: waits for the answer, but not for long -- */
void lookout_open(int fd);       /* before there are threads */
struct view *lookout_view(void); /* the caller's; NULL: no answer */
bool lookout_workers(uint32_t *count);
bool lookout_text(enum lookout_kind kind, struct buf *out); /* appends it; false: no answer */
/* False: refused, or no answer. */
bool lookout_order(enum lookout_kind kind, const char *pool, const char *token);
int lookout_profile(const char *pool, unsigned seconds, unsigned hz); /* the pipe, the caller's; -1 */
/* For what programs say on STDOUT_FILENO or STDERR_FILENO of the worker with this thread; as above. */
int lookout_talker(int stream_fd, int32_t worker);

#endif
