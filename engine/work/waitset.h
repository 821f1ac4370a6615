/* A pool's wait set: one epoll instance that all its workers sleep in, and what is armed in it. */
#ifndef ENGINE_WORK_WAITSET_H
#define ENGINE_WORK_WAITSET_H

#include "engine/engine.h"

struct waitset;

enum wait_outcome {
    WAIT_READY,   /* *out is the caller's (or a listener, which is everybody's) */
    WAIT_NOTHING, /* somebody else was faster, or a signal came */
    WAIT_WOKEN,   /* waitset_wake: look at the queue and at the pool's orders */
    WAIT_TIMEOUT,
};

/* NULL with errno. one_shot: what a worker has in hand never shows in waitset_fd(), at the price of a system
 * call for each re-arming. */
struct waitset *waitset_create(bool one_shot);
void waitset_destroy(struct waitset *set);
int waitset_fd(const struct waitset *set); /* the epoll descriptor, for watching it in another one */

/* See engine.h: pool_wait_add and its sisters. Any thread. */
int waitset_add(struct waitset *set, struct waitable *waitable, enum wait_mode mode);
int waitset_rearm(struct waitset *set, struct waitable *waitable);
void waitset_mute(struct waitset *set, struct waitable *waitable);
void waitset_forget(struct waitset *set, struct waitable *waitable);
/* Control thread. A thread is lost that slept in the set, and took along what the kernel had just told it
 * alone: whatever is ready is told again. Counts it out of those that sleep. */
void waitset_lost(struct waitset *set);
void waitset_evict(struct waitset *set, void (*fn)(struct waitable *self));
void waitset_expire(struct waitset *set, uint64_t now_us);
/* Calls fn with the descriptor of each listener. */
void waitset_listeners(struct waitset *set, void (*fn)(void *ctx, int fd), void *ctx);

/* A worker sleeps between enter and leave. What it must not miss (the queue, orders) it looks at after enter:
 * waitset_wake, called after the change, sees either the sleeper or has been seen by it. */
void waitset_enter(struct waitset *set);
uint32_t waitset_leave(struct waitset *set); /* how many sleep now */
enum wait_outcome waitset_wait(struct waitset *set, int timeout_ms, struct waitable **out);
/* Wakes one sleeping worker; does nothing if none sleeps or one is being woken already: a worker that was
 * woken calls it again when it leaves something to do. Any thread. */
void waitset_wake(struct waitset *set);
uint32_t waitset_sleeping(const struct waitset *set);

#endif
