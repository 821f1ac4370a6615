/* The state machine of the generation swap; see generation.h for the picture. Supervisor's thread. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/generation_private.h"

const struct generation_limits generation_default_limits = {
    .start_us = 60 * CLOCK_US_PER_SECOND,
    .drain_us = 30 * CLOCK_US_PER_SECOND,
    .heard_us = 2 * CLOCK_US_PER_SECOND,
    .stop_us = CLOCK_US_PER_SECOND,
    .warm_us = CLOCK_US_PER_SECOND,
    .damaged_us = CLOCK_US_PER_SECOND / 10,
    .swap_gap_us = CLOCK_US_PER_SECOND,
    .again_us = 20 * CLOCK_US_PER_SECOND,
    .again_max_us = 600 * CLOCK_US_PER_SECOND,
    .renewed_us = 3 * CLOCK_US_PER_SECOND,
    .renew_us = 2 * CLOCK_US_PER_SECOND,
    .renew_max_us = 30 * CLOCK_US_PER_SECOND,
    .max_draining = 2,
    .burst = 30,
    .refill_us = 2 * CLOCK_US_PER_SECOND,
    .retry_us = CLOCK_US_PER_SECOND / 4,
    .retry_max_us = 10 * CLOCK_US_PER_SECOND,
};

void seat_init(struct seat *seat, const char *name, int index, const struct generation_hooks *hooks,
               const struct generation_limits *limits, uint64_t now)
{
    memset(seat, 0, sizeof(*seat));
    seat->name = name;
    seat->index = index;
    seat->hooks = hooks;
    seat->limits = *limits;
    seat->tokens = limits->burst;
    seat->refilled_us = now;
}

static const char asked_early[] = "it asked for it while it started";

bool seat_settled(const struct seat *seat)
{
    return !generation_in(seat, GENERATION_STARTING) && seat->start_at_us == 0 && seat->warm_until_us == 0 &&
           !seat->swap_wanted;
}

/* -- swaps -- */

/* Swaps are one at a time, not faster than swap_gap_us, and wait while too many old ones are still draining:
 * a pool whose every new process asks for its successor must not fill the memory with old ones. */
static void try_swap(struct seat *seat, uint64_t now)
{
    if (!seat->swap_wanted || seat->role != SEAT_SERVES || generation_in(seat, GENERATION_STARTING) ||
        seat->warm_until_us != 0 || seat->start_at_us != 0) {
        return;
    }
    if (seat->asleep) {
        seat->swap_wanted = false; /* whatever comes next is new */
        return;
    }
    struct generation *old = seat_serving(seat);
    if (!old) {
        seat_launch(seat, -1, now);
        return;
    }
    if (now < seat->swap_after_us || now < seat->state_after_us ||
        generation_count(seat, GENERATION_DRAINING) >= seat->limits.max_draining) {
        return;
    }
    log_notice("[pool %s] engine process %d (generation %u) is being replaced: %s", seat->name, (int)old->pid,
               old->number, seat->swap_reason);
    seat->swap_after_us = now + seat->limits.swap_gap_us;
    seat->warm_until_us = now + (old->damaged ? seat->limits.damaged_us : seat->limits.warm_us);
    seat->hooks->ask_warm_list(old);
}

void seat_start(struct seat *seat, uint64_t now)
{
    seat_swap(seat, "a reload", now); /* the only reason why there already is one to be replaced */
}

/* -- sleep -- */

bool seat_sleep(struct seat *seat, uint64_t now)
{
    struct generation *g = seat_serving(seat);
    if (seat->role != SEAT_SERVES || !seat_settled(seat) || (g && g->standin)) {
        return false;
    }
    seat->asleep = true;
    if (g) {
        generation_drain(g, seat->limits.drain_us, now);
    }
    return true;
}

void seat_wake(struct seat *seat, uint64_t now)
{
    if (!seat->asleep || seat->role != SEAT_SERVES) {
        return;
    }
    seat_launch(seat, -1, now);
}

/* -- wishes -- */

/* What can wait puts nothing off that is to be done before that. */
static void wish(struct seat *seat, const char *why, uint64_t after_us, uint64_t now)
{
    if (seat->role != SEAT_SERVES) {
        return;
    }
    if (!seat->swap_wanted || after_us <= seat->state_after_us) {
        snprintf(seat->swap_reason, sizeof(seat->swap_reason), "%s", why);
        seat->state_after_us = after_us;
    }
    seat->swap_wanted = true;
    try_swap(seat, now);
}

/* A swap while one is under way is remembered and done after it: what starts now may already be older than
 * what the caller wants to see replaced. */
void seat_swap(struct seat *seat, const char *why, uint64_t now)
{
    wish(seat, why, 0, now);
}

static void say_swaps_wait(const struct seat *seat, const char *why)
{
    log_warning("[pool %s] its new engine processes meet the same at once, so the next swaps wait: %s",
                seat->name, why);
}

/* What a new process meets again at once, a newer one would meet as well: it waits. 0 = it need not. */
static uint64_t met_again_until(const struct generation *g, const char *why, uint64_t now)
{
    struct seat *seat = g->seat;
    const struct generation_limits *limits = &seat->limits;
    bool again = strcmp(seat->state_met, why) == 0 && now - g->ready_us < limits->again_us;
    snprintf(seat->state_met, sizeof(seat->state_met), "%s", why);
    if (!again) {
        seat->again_us = 0;
        return 0;
    }
    if (seat->again_us == 0) {
        say_swaps_wait(seat, why);
    }
    seat->again_us = seat->again_us ? 2 * seat->again_us : limits->again_us;
    if (seat->again_us > limits->again_max_us) {
        seat->again_us = limits->again_max_us;
    }
    return now + seat->again_us;
}

/* A script that resets OPcache in each request would have every process replaced at once. Meanwhile nothing
 * old is used, so the next swap can wait; another reason need not. */
static void wish_after_reset(struct seat *seat, const char *why, bool soon, uint64_t now)
{
    const struct generation_limits *limits = &seat->limits;
    const struct generation *serving = seat_serving(seat);
    if (seat->renewing && seat->swap_wanted) {
        return;
    }
    bool again = serving && serving->renewed && soon;
    if (again && seat->renewal_us == 0) {
        say_swaps_wait(seat, why);
    }
    seat->renewal_us = !again ? 0 : seat->renewal_us ? 2 * seat->renewal_us : limits->renew_us;
    if (seat->renewal_us > limits->renew_max_us) {
        seat->renewal_us = limits->renew_max_us;
    }
    seat->renewing = true;
    wish(seat, why, again ? now + seat->renewal_us : 0, now);
}

/* One that starts may have read already what its predecessor has just been told to forget: it is told as
 * well, and its successor follows. */
static void renew(struct generation *g, const char *why, bool can_wait, uint64_t now)
{
    struct seat *seat = g->seat;
    bool soon = now - seat->reset_asked_us < seat->limits.renewed_us;
    seat->reset_asked_us = can_wait ? now : seat->reset_asked_us;
    struct generation *starting = generation_in(seat, GENERATION_STARTING);
    if (starting && !starting->standin && !starting->stale) {
        starting->stale = true;
        seat->hooks->forget_cache(starting);
    }
    if (seat->warm_until_us == 0 && can_wait) {
        wish_after_reset(seat, why, soon, now);
    } else if (seat->warm_until_us == 0) {
        seat_swap(seat, why, now);
    }
}

/* Any replacement that is under way is newer than a process's own reason, but for a renewal. */
void seat_asked(struct generation *g, const char *why, enum swap_kind kind, uint64_t now)
{
    struct seat *seat = g->seat;
    g->damaged = g->damaged || kind == SWAP_DAMAGED;
    g->asked = g->state == GENERATION_STARTING;
    if (kind == SWAP_RENEWAL || kind == SWAP_RESET) {
        renew(g, why, kind == SWAP_RESET, now);
    } else if (g->state == GENERATION_READY && !generation_in(seat, GENERATION_STARTING) &&
               seat->warm_until_us == 0) {
        uint64_t after_us = kind == SWAP_STATE ? met_again_until(g, why, now) : 0;
        wish(seat, why, after_us, now);
    }
}

bool seat_warm_list(struct seat *seat, const struct generation *from, int warm_fd, uint64_t now)
{
    if (seat->warm_until_us == 0 || from != seat_serving(seat) || seat->role != SEAT_SERVES) {
        return false;
    }
    seat_launch(seat, warm_fd, now);
    return true;
}

/* -- what processes do -- */

void seat_ready(struct generation *g, uint64_t now)
{
    struct seat *seat = g->seat;
    if (g->state != GENERATION_STARTING) {
        return;
    }
    g->state = GENERATION_READY;
    g->ready_us = now;
    g->deadline_us = 0;
    if (seat->role != SEAT_ENDS || g->awaited) {
        seat->hooks->serve(g);
    }
    if (!g->standin) {
        seat->failures = 0;
        crash_loop_leave(seat);
    }
    for (struct generation *old = seat->generations; old; old = old->next) {
        if (old != g && old->state == GENERATION_READY) {
            generation_drain(old, seat->limits.drain_us, now);
            seat->swaps += !old->standin;
        }
    }
    if (seat->role == SEAT_ENDS) {
        generation_drain(g, seat->limits.drain_us, now);
    }
    if (g->asked) {
        wish(seat, asked_early, met_again_until(g, asked_early, now), now);
    }
    g->renewed = seat->renewing;
    seat->renewing = seat->renewing && seat->swap_wanted;
    try_swap(seat, now);
    seat->hooks->changed(seat);
}

void seat_lost(struct generation *g, const char *why, uint64_t now)
{
    struct seat *seat = g->seat;
    if (g->state != GENERATION_READY) {
        return;
    }
    log_error("[pool %s] engine process %d (generation %u) serves nobody any more: %s", seat->name,
              (int)g->pid, g->number, why);
    g->damaged = true;
    generation_drain(g, seat->limits.drain_us, now);
    crash_loop_replace(seat, now);
    seat->hooks->changed(seat);
}

void seat_exited(struct generation *g, const char *how, uint64_t now)
{
    struct seat *seat = g->seat;
    enum generation_state was = g->state;
    bool standin = g->standin;
    char why[sizeof(g->failure)];
    snprintf(why, sizeof(why), "%s", g->failure[0] ? g->failure : how);
    generation_drop(g);
    if (was == GENERATION_STARTING && !standin) {
        seat_start_failed(seat, why, now);
    }
    if (was == GENERATION_READY && !standin) {
        snprintf(seat->last_failure, sizeof(seat->last_failure), "it ended %s", how);
        crash_loop_replace(seat, now);
    }
    try_swap(seat, now);
    seat->hooks->changed(seat);
}

/* -- time, and the end -- */

void seat_tick(struct seat *seat, uint64_t now)
{
    for (struct generation *g = seat->generations; g; g = g->next) {
        generation_tick(g, now);
    }
    if (seat->role != SEAT_SERVES) {
        return;
    }
    crash_loop_refill(seat, now);
    if (seat->warm_until_us != 0 && now >= seat->warm_until_us) {
        seat_launch(seat, -1, now); /* no list: a cold start is still a start */
    } else if (seat->start_at_us != 0 && now >= seat->start_at_us &&
               !generation_in(seat, GENERATION_STARTING)) {
        if (seat->tokens > 0 && !seat_runs_php(seat)) {
            seat->tokens--;
        }
        seat_launch(seat, -1, now);
    }
    if (seat_runs_php(seat)) {
        crash_loop_leave(seat);
    }
    crash_loop_call_standin(seat, now);
    try_swap(seat, now);
}

static void start_nothing_more(struct seat *seat, enum seat_role role)
{
    seat->role = role;
    seat->asleep = false;
    seat->start_at_us = 0;
    seat->warm_until_us = 0;
    seat->swap_wanted = false;
}

void seat_fade(struct seat *seat)
{
    if (seat->role == SEAT_SERVES) {
        start_nothing_more(seat, SEAT_FADES);
    }
}

/* It has let nobody in. */
static void end_start(struct generation *g)
{
    g->state = GENERATION_DRAINING;
    generation_kill(g);
}

void seat_drain(struct seat *seat, uint64_t drain_us, uint64_t now)
{
    start_nothing_more(seat, SEAT_ENDS);
    for (struct generation *g = seat->generations; g; g = g->next) {
        if (g->state == GENERATION_READY) {
            generation_drain(g, drain_us, now);
        } else if (g->state == GENERATION_STARTING && !g->awaited) {
            end_start(g);
        }
    }
}

void seat_stop(struct seat *seat, uint64_t now)
{
    start_nothing_more(seat, SEAT_ENDS);
    for (struct generation *g = seat->generations; g; g = g->next) {
        if (g->state == GENERATION_STARTING) {
            end_start(g);
        } else {
            g->deadline_us = now + seat->limits.stop_us;
            g->state = GENERATION_DRAINING;
            seat->hooks->stop(g);
        }
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Only times at which seat_tick can act: a time that has passed and does nothing would let the owner spin. */
uint64_t seat_next_us(const struct seat *seat)
{
    uint64_t next = seat->warm_until_us;
    if (!generation_in(seat, GENERATION_STARTING)) {
        next = sooner(next, seat->start_at_us);
        if (seat->swap_wanted && next == 0 &&
            generation_count(seat, GENERATION_DRAINING) < seat->limits.max_draining) {
            next = seat->swap_after_us > seat->state_after_us ? seat->swap_after_us : seat->state_after_us;
        }
    }
    for (const struct generation *g = seat->generations; g; g = g->next) {
        next = sooner(next, g->deadline_us);
    }
    if (seat->crash_loop && seat->role == SEAT_SERVES) {
        next = sooner(next, seat->refilled_us + seat->limits.refill_us);
    }
    return next;
}
