/* Where the work of one kind of workers waits: what they sleep in, what loops have submitted for them, and
 * what other workers have passed on to them. A pool has a lane for each kind that looks for work: its own
 * workers, its page workers (nothing is ever queued there) and its residents. Any thread, but for making and
 * unmaking. */
#ifndef ENGINE_WORK_LANE_H
#define ENGINE_WORK_LANE_H

#include "engine/work/passed.h"
#include "engine/work/queue.h"
#include "engine/work/waitset.h"

struct lane {
    struct waitset *waitset; /* NULL: the pool has no such workers */
    struct queue queue;
    struct passed_list passed;
};

void lane_init(struct lane *lane);
void lane_free(struct lane *lane);
/* Before any worker. one_shot: see waitset_create. 0 or -1 with errno. */
int lane_open(struct lane *lane, bool one_shot);
/* Wakes one sleeper, if there is one. */
void lane_wake(struct lane *lane);
/* Control thread: see the wait set's functions. */
void lane_expire(struct lane *lane, uint64_t now_us);
void lane_evict(struct lane *lane, void (*fn)(struct waitable *self));

/* Something waits that no wait set shows. */
static inline bool lane_has_queued(const struct lane *lane)
{
    return !queue_empty(&lane->queue) || !passed_empty(&lane->passed);
}

/* How many workers sleep there. */
static inline uint32_t lane_sleeping(const struct lane *lane)
{
    return lane->waitset ? waitset_sleeping(lane->waitset) : 0;
}

#endif
