/* The sampling profiler. See the header.
 *
 * Nothing of a worker is stopped: a signal would cut a sleep or a poll short that begins just then. While its
 * lock is held its request is not over before we are. */
#include "engine/work/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/work/pool_private.h"
#include "engine/work/profile_stacks.h"

#define PROFILES_MAX 4
#define LEAVE_US     (10 * CLOCK_US_PER_SECOND) /* for a reader who does not read */
#define LEAVE_AGAIN  (20 * 1000)
#define LOOK_US      (CLOCK_US_PER_SECOND / 2) /* how often it is seen whether somebody reads */

struct profile {
    uint64_t interval_us, next_us, look_us, until_us;
    uint64_t leave_us; /* 0 = it is still sampled */
    bool quiet;
    unsigned weight; /* of the samples of this look */
    int fd;
    struct profile_stacks *stacks;
    struct buf text; /* what leaves */
    size_t sent;
};

static struct profile *running[PROFILES_MAX]; /* of this process; NULL = free */
static bool busy;                             /* somebody ran at the last look */

/* -- the end -- */

static void drop(struct profile **place)
{
    struct profile *p = *place;
    *place = NULL;
    close(p->fd);
    buf_free(&p->text);
    profile_stacks_free(p->stacks);
    free(p->stacks);
    free(p);
}

/* Whole lines, as other processes write into the same pipe. True: all of it has left, or never will. */
static bool leave(struct profile *p, uint64_t now)
{
    while (p->sent < p->text.n) {
        const char *from = p->text.p + p->sent, *end = strchr(from, '\n');
        size_t n = (size_t)(end - from) + 1;
        ssize_t done = write(p->fd, from, n);
        if (done != (ssize_t)n) {
            return !(done < 0 && (errno == EAGAIN || errno == EINTR)) || now >= p->leave_us;
        }
        p->sent += n;
    }
    return true;
}

static void begin_to_leave(struct profile *p, uint64_t now)
{
    p->leave_us = now + LEAVE_US;
    p->next_us = now;
    profile_stacks_write(p->stacks, &p->text);
}

/* The pipe's other end is closed: nobody waits for it. */
static bool is_alone(struct profile *p, uint64_t now)
{
    if (now < p->look_us) {
        return false;
    }
    struct pollfd end = {.fd = p->fd};
    p->look_us = now + LOOK_US;
    return poll(&end, 1, 0) > 0 && (end.revents & (POLLERR | POLLNVAL));
}

/* -- taking a sample -- */

/* With the worker's lock held. */
static void look_at_request(struct pool *pool, struct worker *w, uint64_t now)
{
    static struct call_stack stack; /* the control thread's */
    const struct request *r = w->request;
    struct profile_sample sample = {.method = r->method, .uri = r->uri, .script = r->script, .stack = &stack};
    busy = true;
    sample.slept = worker_is_blocked(w);
    if (pool->executor->look(w, &stack) != 0) {
        stack.count = 0;
        stack.outside = false;
        stack.cut = true;
    }
    for (int i = 0; i < PROFILES_MAX; i++) {
        struct profile *p = running[i];
        if (p && p->leave_us == 0 && now >= p->next_us) {
            profile_stacks_add(p->stacks, &sample, p->weight);
        }
    }
}

static void look_at(struct pool *pool, struct worker *w, uint64_t now)
{
    enum worker_state state = worker_get_state(w);
    if (state == WORKER_IDLE || state == WORKER_PARKED || state == WORKER_LOOKING || w->kind == KIND_PAGE ||
        atomic_load(&w->lost) || atomic_load(&w->crash.entered_us) || pthread_mutex_trylock(&w->lock) != 0) {
        return;
    }
    if (w->request) {
        look_at_request(pool, w, now);
    }
    pthread_mutex_unlock(&w->lock);
}

static void look_at_all(struct pool *pool, uint64_t now)
{
    busy = false;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i]) {
            look_at(pool, pool->workers[i], now);
        }
    }
}

/* -- the control thread -- */

void profile_begin(struct pool *pool, const struct profile_order *order)
{
    int place = 0;
    while (place < PROFILES_MAX && running[place]) {
        place++;
    }
    bool good = place < PROFILES_MAX && pool->executor->look && order->hz > 0 &&
                order->hz <= PROFILE_HZ_MAX && order->ms <= PROFILE_SECONDS_MAX * 1000 &&
                fcntl(order->fd, F_SETFL, O_NONBLOCK) == 0;
    struct profile *p = good ? calloc(1, sizeof(*p)) : NULL;
    struct profile_stacks *stacks = p ? calloc(1, sizeof(*stacks)) : NULL;
    if (!stacks) {
        free(p);
        close(order->fd);
        return;
    }
    uint64_t now = clock_us(), interval = CLOCK_US_PER_SECOND / order->hz;
    *p = (struct profile){.interval_us = interval,
                          .next_us = now + interval,
                          .look_us = now + LOOK_US,
                          .until_us = now + (uint64_t)order->ms * 1000,
                          .quiet = order->quiet,
                          .fd = order->fd,
                          .stacks = stacks};
    running[place] = p;
}

/* When it wants to be called again; 0: whenever somebody is. */
static uint64_t next_of(const struct profile *p)
{
    return p->quiet && !busy && p->leave_us == 0 ? 0 : p->next_us;
}

/* Who gets no processor for a while looks late, and once: what it sees stands for all that time. But what
 * runs when somebody is looked for now and then has just begun. */
static void weigh(struct profile *p, uint64_t now)
{
    uint64_t missed = now > p->next_us ? (now - p->next_us) / p->interval_us : 0;
    uint64_t most = CLOCK_US_PER_SECOND / p->interval_us;
    p->weight = p->quiet && !busy ? 1 : (unsigned)(missed < most ? missed : most) + 1;
}

/* One that falls behind does not catch up: those looks would all see the same. */
static void move_on(struct profile *p, uint64_t now)
{
    p->next_us += p->interval_us;
    if (p->next_us <= now) {
        p->next_us = now + p->interval_us;
    }
}

static bool is_due(uint64_t now)
{
    bool due = false;
    for (int i = 0; i < PROFILES_MAX; i++) {
        struct profile *p = running[i];
        if (p && p->leave_us == 0 && now >= p->next_us && now < p->until_us) {
            weigh(p, now);
            due = true;
        }
    }
    return due;
}

/* False: it is over. */
static bool keep(struct profile *p, uint64_t now, bool rests)
{
    if (is_alone(p, now)) {
        return false;
    }
    if (p->leave_us == 0 && (now >= p->until_us || (p->quiet && rests))) {
        begin_to_leave(p, now);
    }
    if (p->leave_us > 0) {
        p->next_us = now + LEAVE_AGAIN;
        return !leave(p, now);
    }
    if (now >= p->next_us) {
        move_on(p, now);
    }
    return true;
}

int64_t profile_tick(struct pool *pool, uint64_t now, bool rests)
{
    uint64_t next = 0;
    int count = 0;
    if (is_due(now)) {
        look_at_all(pool, now);
    }
    for (int i = 0; i < PROFILES_MAX; i++) {
        struct profile *p = running[i];
        if (p && !keep(p, now, rests)) {
            drop(&running[i]);
        } else if (p) {
            uint64_t its = next_of(p);
            next = its && (!count || its < next) ? its : next;
            count += its != 0;
        }
    }
    return count == 0 ? -1 : next > now ? (int64_t)(next - now) : 0;
}

void profile_end(void)
{
    for (int i = 0; i < PROFILES_MAX; i++) {
        struct profile *p = running[i];
        if (p) {
            if (p->leave_us == 0) {
                begin_to_leave(p, clock_us());
            }
            leave(p, clock_us());
            drop(&running[i]);
        }
    }
}
