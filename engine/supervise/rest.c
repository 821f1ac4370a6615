/* Pools that sleep. An engine process says when it rests: nothing runs, and nobody is connected. One of a
 * pool with pm = ondemand that has rested for pm.process_idle_timeout goes, and leaves its list of scripts;
 * from then on the supervisor looks at the pool's listeners, and starts a process when somebody connects, who
 * waits in the listener's queue meanwhile. While processes rest it looks as well: one that does not take a
 * connection may be stopped, and is asked (pulse.c). Supervisor's thread.
 *
 * A pool with http.internal_listen stays awake: it is asked again and again how the server is. */
#include <poll.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/closer.h"
#include "engine/supervise/state.h"

bool member_may_sleep(const struct member *m)
{
    return m->conf && m->conf->s.pm == PM_ONDEMAND && !m->conf->tasks_of && !m->closed &&
           !member_shows_all(m);
}

/* -- what processes say -- */

void rest_heard(struct child *child, uint64_t idle_ms)
{
    uint64_t now = clock_us(), since = child->generation->ready_us;
    child->rests = true;
    child->rests_us = idle_ms < (now - since) / 1000 ? now - idle_ms * 1000 : since;
}

static struct child *serving(const struct seat *seat)
{
    const struct generation *g = seat_serving(seat);
    return g && !g->standin && !g->adopted ? g->process : NULL;
}

/* While one process of a pool serves, nobody looks at the listeners for seats that sleep. */
void rest_is_over(struct child *child)
{
    struct member *m = child->member;
    child->rests = child->dozes = false;
    for (int i = 0; serving(child->generation->seat) == child && i < m->seat_count; i++) {
        seat_wake(&m->seats[i], clock_us());
    }
}

/* -- asleep, awake -- */

static bool is_ours(const struct listener *l, const struct member *m)
{
    return l->pool == m->conf && l->fd >= 0;
}

bool member_sleeps(const struct member *m)
{
    bool sleeps = m->conf != NULL;
    for (int i = 0; i < m->seat_count; i++) {
        sleeps = sleeps && m->seats[i].asleep;
    }
    return sleeps;
}

bool member_rests(const struct member *m)
{
    bool rests = m->conf != NULL;
    for (int i = 0; i < m->seat_count; i++) {
        const struct child *c = serving(&m->seats[i]);
        rests = rests && (m->seats[i].asleep || (c && c->rests));
    }
    return rests;
}

/* Who is asked rests no more until it says so again: nobody looks meanwhile. */
void member_wake(struct member *m)
{
    uint64_t now = clock_us();
    bool sleeps = member_sleeps(m);
    for (int i = 0; i < m->seat_count; i++) {
        struct child *c = serving(&m->seats[i]);
        if (sleeps) {
            seat_wake(&m->seats[i], now);
        } else if (c && c->rests) {
            rest_is_over(c);
            pulse_ask(c);
        }
    }
}

static bool somebody_waits(const struct member *m)
{
    for (const struct listener *l = m->supervisor->listeners; l; l = l->next) {
        struct pollfd p = {.fd = l->fd, .events = POLLIN};
        if (is_ours(l, m) && poll(&p, 1, 0) > 0) {
            return true;
        }
    }
    return false;
}

void rest_wake_waiting(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        if (member_sleeps(m) && somebody_waits(m)) {
            member_wake(m);
        }
    }
}

/* One of the others has been woken up meanwhile. */
static bool goes_alone(const struct child *child)
{
    const struct member *m = child->member;
    bool alone = false;
    for (int i = 0; i < m->seat_count; i++) {
        const struct child *c = serving(&m->seats[i]);
        alone = alone || (!m->seats[i].asleep && !(c && c->dozes));
    }
    return alone;
}

bool rest_list(struct child *child, int warm_fd)
{
    struct member *m = child->member;
    bool dozed = child->dozes, alone = goes_alone(child);
    child->dozes = false;
    if (!dozed || alone) {
        return false;
    }
    if (warm_fd >= 0) {
        closer_drop(m->warm_fd);
        m->warm_fd = warm_fd;
    }
    seat_sleep(child->generation->seat, clock_us());
    return warm_fd >= 0;
}

/* -- time -- */

/* When its processes, which all rest, have rested for long enough; 0: not as things are. They go together:
 * while one of them serves, nobody looks at the listeners for the others. */
static uint64_t sleep_at_us(const struct member *m)
{
    uint64_t at = 0,
             timeout = (uint64_t)(m->conf ? m->conf->s.process_idle_timeout : 0) * CLOCK_US_PER_SECOND;
    if (!member_may_sleep(m) || m->supervisor->phase >= PHASE_FINISHING) {
        return 0;
    }
    for (int i = 0; i < m->seat_count; i++) {
        const struct child *c = serving(&m->seats[i]);
        if (m->seats[i].asleep) {
            continue;
        }
        if (!c || !c->rests || c->dozes || !seat_settled(&m->seats[i])) {
            return 0;
        }
        at = c->rests_us + timeout > at ? c->rests_us + timeout : at;
    }
    return at;
}

void rest_tick(struct supervisor *s, uint64_t now)
{
    for (struct member *m = s->members; m; m = m->next) {
        uint64_t at = sleep_at_us(m);
        for (int i = 0; at != 0 && at <= now && i < m->seat_count; i++) {
            struct child *c = serving(&m->seats[i]);
            if (c) {
                c->dozes = true;
                child_tell(c, CHANNEL_WANT_WARM_LIST, 0);
            }
        }
    }
}

uint64_t rest_next_us(const struct supervisor *s)
{
    uint64_t next = 0;
    for (const struct member *m = s->members; m; m = m->next) {
        uint64_t at = sleep_at_us(m);
        next = at != 0 && (next == 0 || at < next) ? at : next;
    }
    return next;
}
