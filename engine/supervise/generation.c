/* One engine process of a seat: its place in the seat's list, its states, its deadline. It belongs to its
 * seat and is freed when its process has been seen to end (seat_exited), never before, so that no event can
 * name one that is gone. Supervisor's thread. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/supervise/generation_private.h"

const char *generation_state_name(enum generation_state state)
{
    static const char *const names[] = {"starting", "ready", "draining", "gone"};
    return names[state];
}

/* -- the list -- */

struct generation *generation_add(struct seat *seat, uint32_t number, enum generation_state state,
                                  uint64_t now)
{
    struct generation *g = xcalloc(1, sizeof(*g));
    g->number = number;
    g->state = state;
    g->launched_us = now;
    g->seat = seat;
    g->next = seat->generations;
    seat->generations = g;
    if (number > seat->last_number) {
        seat->last_number = number;
    }
    return g;
}

void generation_drop(struct generation *g)
{
    struct generation **link = &g->seat->generations;
    while (*link != g) {
        link = &(*link)->next;
    }
    *link = g->next;
    g->state = GENERATION_GONE;
    g->seat->hooks->forget(g);
    free(g);
}

void seat_free(struct seat *seat)
{
    while (seat->generations) {
        generation_drop(seat->generations);
    }
}

struct generation *generation_in(const struct seat *seat, enum generation_state state)
{
    struct generation *g = seat->generations;
    while (g && g->state != state) {
        g = g->next;
    }
    return g;
}

struct generation *seat_serving(const struct seat *seat)
{
    return generation_in(seat, GENERATION_READY);
}

struct generation *seat_find(const struct seat *seat, pid_t pid)
{
    struct generation *g = seat->generations;
    while (g && g->pid != pid) {
        g = g->next;
    }
    return g;
}

bool seat_empty(const struct seat *seat)
{
    return seat->generations == NULL;
}

unsigned generation_count(const struct seat *seat, enum generation_state state)
{
    unsigned count = 0;
    for (const struct generation *g = seat->generations; g; g = g->next) {
        count += g->state == state;
    }
    return count;
}

struct generation *seat_adopt(struct seat *seat, uint32_t number, enum generation_state state, pid_t pid,
                              uint64_t deadline_us, uint64_t now)
{
    struct generation *g = generation_add(seat, number, state, now);
    g->ready_us = now;
    g->pid = pid;
    g->deadline_us = deadline_us;
    return g;
}

/* -- its states -- */

void generation_drain(struct generation *g, uint64_t drain_us, uint64_t now)
{
    uint64_t heard_us = g->seat->limits.heard_us;
    g->state = GENERATION_DRAINING;
    g->drain_us = drain_us;
    g->deadline_us = now + (drain_us < heard_us ? drain_us : heard_us);
    g->hear_by_us = now + drain_us;
    g->seat->hooks->drain(g, (unsigned)(drain_us / 1000));
}

void generation_kill(struct generation *g)
{
    g->killed = true;
    g->deadline_us = 0;
    g->seat->hooks->kill(g);
}

void seat_heard(struct generation *g, uint64_t now)
{
    if (g->state == GENERATION_DRAINING && !g->killed && g->drain_us != 0) {
        g->deadline_us = now + g->drain_us;
        g->drain_us = 0;
    }
}

void seat_failed(struct generation *g, const char *why)
{
    snprintf(g->failure, sizeof(g->failure), "%s", why);
}

/* -- its deadline -- */

/* One that only got no processor will react when it does. */
static bool may_still_react(struct generation *g, uint64_t now)
{
    uint64_t heard_us = g->seat->limits.heard_us;
    if (g->state != GENERATION_DRAINING || g->drain_us <= heard_us || now >= g->hear_by_us ||
        !g->seat->hooks->starves(g)) {
        return false;
    }
    g->deadline_us = now + heard_us;
    return true;
}

void generation_tick(struct generation *g, uint64_t now)
{
    if (g->deadline_us == 0 || now < g->deadline_us || may_still_react(g, now)) {
        return;
    }
    if (g->state == GENERATION_STARTING) {
        char why[64];
        snprintf(why, sizeof(why), "it was not ready after %u s",
                 (unsigned)(g->seat->limits.start_us / CLOCK_US_PER_SECOND));
        seat_failed(g, why);
    } else if (g->drain_us > g->seat->limits.heard_us) {
        log_warning("[pool %s] engine process %d (generation %u) does not react and is killed", g->seat->name,
                    (int)g->pid, g->number);
    } else {
        log_warning("[pool %s] engine process %d (generation %u) did not end in time and is killed",
                    g->seat->name, (int)g->pid, g->number);
    }
    generation_kill(g);
}
