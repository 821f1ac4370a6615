/* See lane.h. */
#include "engine/work/lane.h"

void lane_init(struct lane *lane)
{
    lane->waitset = NULL;
    queue_init(&lane->queue);
    passed_init(&lane->passed);
}

void lane_free(struct lane *lane)
{
    if (lane->waitset) {
        waitset_destroy(lane->waitset);
    }
    passed_free(&lane->passed);
    queue_free(&lane->queue);
}

int lane_open(struct lane *lane, bool one_shot)
{
    lane->waitset = waitset_create(one_shot);
    return lane->waitset ? 0 : -1;
}

void lane_wake(struct lane *lane)
{
    if (lane->waitset) {
        waitset_wake(lane->waitset);
    }
}

void lane_expire(struct lane *lane, uint64_t now)
{
    if (lane->waitset) {
        waitset_expire(lane->waitset, now);
    }
}

void lane_evict(struct lane *lane, void (*fn)(struct waitable *self))
{
    if (lane->waitset) {
        waitset_evict(lane->waitset, fn);
    }
}
