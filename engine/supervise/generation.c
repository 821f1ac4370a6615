/* The state machine of the generation swap; see generation.h for the picture. Supervisor's thread. A
 * generation belongs to its seat and is freed when its process has been seen to end (seat_exited), never
 * before, so that no event can name one that is gone.
 *
 * Two brakes keep a broken pool from becoming a fork storm. A start that fails is tried again after a pause
 * that doubles. A process that had been ready and dies is replaced at once, as long as the seat has tokens,
 * which come back one by one. Without tokens, or after several failed starts, the seat says once that it is
 * in a crash loop, and goes on trying at intervals. */
#include "engine/supervise/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/base/str.h"

#define LOOP_FAILURES 3 /* failed starts in a row that are called a crash loop */

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
    .max_draining = 2,
    .burst = 30,
    .refill_us = 2 * CLOCK_US_PER_SECOND,
    .retry_us = CLOCK_US_PER_SECOND / 4,
    .retry_max_us = 10 * CLOCK_US_PER_SECOND,
};

const char *generation_state_name(enum generation_state state)
{
    static const char *const names[] = {"starting", "ready", "draining", "gone"};
    return names[state];
}

/* -- the list -- */

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

static struct generation *add(struct seat *seat, uint32_t number, enum generation_state state, uint64_t now)
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

static void drop(struct generation *g)
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
        drop(seat->generations);
    }
}

static struct generation *in_state(const struct seat *seat, enum generation_state state)
{
    struct generation *g = seat->generations;
    while (g && g->state != state) {
        g = g->next;
    }
    return g;
}

struct generation *seat_serving(const struct seat *seat)
{
    return in_state(seat, GENERATION_READY);
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

bool seat_settled(const struct seat *seat)
{
    return !in_state(seat, GENERATION_STARTING) && seat->start_at_us == 0 && seat->warm_until_us == 0 &&
           !seat->swap_wanted;
}

struct generation *seat_adopt(struct seat *seat, uint32_t number, enum generation_state state, pid_t pid,
                              uint64_t deadline_us, uint64_t now)
{
    struct generation *g = add(seat, number, state, now);
    g->ready_us = now;
    g->pid = pid;
    g->deadline_us = deadline_us;
    return g;
}

/* -- transitions -- */

static void drain(struct generation *g, uint64_t drain_us, uint64_t now)
{
    uint64_t heard_us = g->seat->limits.heard_us;
    g->state = GENERATION_DRAINING;
    g->drain_us = drain_us;
    g->deadline_us = now + (drain_us < heard_us ? drain_us : heard_us);
    g->hear_by_us = now + drain_us;
    g->seat->hooks->drain(g, (unsigned)(drain_us / 1000));
}

static void kill_now(struct generation *g)
{
    g->killed = true;
    g->deadline_us = 0;
    g->seat->hooks->kill(g);
}

/* PHP runs here. */
static bool serves(const struct seat *seat)
{
    const struct generation *g = seat_serving(seat);
    return g && !g->standin;
}

static void start_failed(struct seat *seat, const char *why, uint64_t now)
{
    uint64_t pause = seat->limits.retry_us << (seat->failures < 16 ? seat->failures : 16);
    seat->failures++;
    if (pause > seat->limits.retry_max_us) {
        pause = seat->limits.retry_max_us;
    }
    snprintf(seat->last_failure, sizeof(seat->last_failure), "%s", why);
    if (seat->role == SEAT_SERVES) {
        seat->start_at_us = now + pause;
    }
    log_error("[pool %s] a new engine process could not start: %s; %s", seat->name, why,
              serves(seat) ? "the old one goes on serving" : "nothing serves this pool until one does");
    if (seat->failures == LOOP_FAILURES && !seat->crash_loop) {
        seat->crash_loop = true;
        log_alert(
            "[pool %s] crash loop: %u starts failed in a row (%s); trying again at intervals of up to %u s",
            seat->name, seat->failures, why, (unsigned)(seat->limits.retry_max_us / CLOCK_US_PER_SECOND));
    }
}

static void launch(struct seat *seat, int warm_fd, uint64_t now)
{
    MUST(seat->role == SEAT_SERVES);
    struct generation *g = add(seat, seat->last_number + 1, GENERATION_STARTING, now);
    g->awaited = seat->asleep;
    seat->start_at_us = 0;
    seat->warm_until_us = 0;
    seat->asleep = false;
    seat->swap_wanted = false; /* what starts now is newer than any reason so far */
    g->deadline_us = now + seat->limits.start_us;
    if (seat->hooks->launch(seat, g, warm_fd) != 0) {
        drop(g);
        start_failed(seat, "no process could be created", now);
    }
}

void seat_start(struct seat *seat, uint64_t now)
{
    seat_swap(seat, "start", now);
}

static unsigned count_state(const struct seat *seat, enum generation_state state)
{
    unsigned count = 0;
    for (const struct generation *g = seat->generations; g; g = g->next) {
        count += g->state == state;
    }
    return count;
}

/* Swaps are one at a time, not faster than swap_gap_us, and wait while too many old ones are still draining:
 * a pool whose every new process asks for its successor must not fill the memory with old ones. */
static void try_swap(struct seat *seat, uint64_t now)
{
    if (!seat->swap_wanted || seat->role != SEAT_SERVES || in_state(seat, GENERATION_STARTING) ||
        seat->warm_until_us != 0 || seat->start_at_us != 0) {
        return;
    }
    if (seat->asleep) {
        seat->swap_wanted = false; /* whatever comes next is new */
        return;
    }
    struct generation *old = seat_serving(seat);
    if (!old) {
        launch(seat, -1, now);
        return;
    }
    if (now < seat->swap_after_us || now < seat->state_after_us ||
        count_state(seat, GENERATION_DRAINING) >= seat->limits.max_draining) {
        return;
    }
    log_notice("[pool %s] engine process %d (generation %u) is being replaced: %s", seat->name, (int)old->pid,
               old->number, seat->swap_reason);
    seat->swap_after_us = now + seat->limits.swap_gap_us;
    seat->warm_until_us = now + (old->damaged ? seat->limits.damaged_us : seat->limits.warm_us);
    seat->hooks->ask_warm_list(old);
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
        drain(g, seat->limits.drain_us, now);
    }
    return true;
}

void seat_wake(struct seat *seat, uint64_t now)
{
    if (!seat->asleep || seat->role != SEAT_SERVES) {
        return;
    }
    launch(seat, -1, now);
}

/* -- wishes -- */

static void wish(struct seat *seat, const char *why, uint64_t after_us, uint64_t now)
{
    if (seat->role == SEAT_SERVES) {
        snprintf(seat->swap_reason, sizeof(seat->swap_reason), "%s", why);
        seat->swap_wanted = true;
        seat->state_after_us = after_us;
        try_swap(seat, now);
    }
}

/* A swap while one is under way is remembered and done after it: what starts now may already be older than
 * what the caller wants to see replaced. */
void seat_swap(struct seat *seat, const char *why, uint64_t now)
{
    wish(seat, why, 0, now);
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
        log_warning("[pool %s] its new engine processes meet the same at once, so the next swaps wait: %s",
                    seat->name, why);
    }
    seat->again_us = seat->again_us ? 2 * seat->again_us : limits->again_us;
    if (seat->again_us > limits->again_max_us) {
        seat->again_us = limits->again_max_us;
    }
    return now + seat->again_us;
}

/* One that starts may have read already what its predecessor has just been told to forget: it is told as
 * well, and its successor follows. */
static void renew(struct generation *g, const char *why, uint64_t now)
{
    struct seat *seat = g->seat;
    struct generation *starting = in_state(seat, GENERATION_STARTING);
    if (starting && !starting->standin && !starting->stale) {
        starting->stale = true;
        seat->hooks->forget_cache(starting);
    }
    if (seat->warm_until_us == 0) {
        seat_swap(seat, why, now);
    }
}

/* Any replacement that is under way is newer than a process's own reason, but for a renewal. */
void seat_asked(struct generation *g, const char *why, enum swap_kind kind, uint64_t now)
{
    struct seat *seat = g->seat;
    g->damaged = g->damaged || kind == SWAP_DAMAGED;
    g->asked = g->state == GENERATION_STARTING;
    if (kind == SWAP_RENEWAL) {
        renew(g, why, now);
    } else if (g->state == GENERATION_READY && !in_state(seat, GENERATION_STARTING) &&
               seat->warm_until_us == 0) {
        uint64_t after_us = kind == SWAP_STATE ? met_again_until(g, why, now) : 0;
        wish(seat, why, after_us, now);
    }
}

void seat_heard(struct generation *g, uint64_t now)
{
    if (g->state == GENERATION_DRAINING && !g->killed && g->drain_us != 0) {
        g->deadline_us = now + g->drain_us;
        g->drain_us = 0;
    }
}

bool seat_warm_list(struct seat *seat, const struct generation *from, int warm_fd, uint64_t now)
{
    if (seat->warm_until_us == 0 || from != seat_serving(seat) || seat->role != SEAT_SERVES) {
        return false;
    }
    launch(seat, warm_fd, now);
    return true;
}

static void leave_crash_loop(struct seat *seat)
{
    if (seat->crash_loop && seat->failures == 0 && seat->tokens > 0) {
        seat->crash_loop = false;
        log_notice("[pool %s] serves again", seat->name);
    }
}

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
        leave_crash_loop(seat);
    }
    for (struct generation *old = seat->generations; old; old = old->next) {
        if (old != g && old->state == GENERATION_READY) {
            drain(old, seat->limits.drain_us, now);
            seat->swaps += !old->standin;
        }
    }
    if (seat->role == SEAT_ENDS) {
        drain(g, seat->limits.drain_us, now);
    }
    if (g->asked) {
        seat_swap(seat, "it asked for it while it started", now);
    }
    try_swap(seat, now);
    seat->hooks->changed(seat);
}

void seat_failed(struct generation *g, const char *why)
{
    snprintf(g->failure, sizeof(g->failure), "%s", why);
}

static void refill(struct seat *seat, uint64_t now)
{
    uint64_t back = (now - seat->refilled_us) / seat->limits.refill_us;
    if (back > 0) {
        seat->refilled_us += back * seat->limits.refill_us;
        uint64_t tokens = seat->tokens + back;
        seat->tokens = tokens > seat->limits.burst ? seat->limits.burst : (unsigned)tokens;
    }
}

/* A serving process is gone. A replacement that is starting already serves as one for it. */
static void replace_dead(struct seat *seat, uint64_t now)
{
    if (seat->role != SEAT_SERVES || in_state(seat, GENERATION_STARTING) || seat_serving(seat)) {
        return;
    }
    seat->warm_until_us = 0;
    refill(seat, now);
    if (seat->tokens > 0) {
        seat->tokens--;
        launch(seat, -1, now);
        return;
    }
    if (!seat->crash_loop) {
        seat->crash_loop = true;
        log_alert("[pool %s] crash loop: its engine processes die faster than one in %u s; one is started at "
                  "that pace",
                  seat->name, (unsigned)(seat->limits.refill_us / CLOCK_US_PER_SECOND));
    }
    seat->start_at_us = seat->refilled_us + seat->limits.refill_us;
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
    drain(g, seat->limits.drain_us, now);
    replace_dead(seat, now);
    seat->hooks->changed(seat);
}

/* Clients of a pool that nothing can serve get an answer, not a wait. Seats share their sockets: while
 * another one serves, a stand-in would take its requests away. */
static void call_standin(struct seat *seat, uint64_t now)
{
    struct generation *serving = seat_serving(seat);
    if (serving && serving->standin && seat->hooks->others_serve(seat)) {
        drain(serving, seat->limits.drain_us, now);
        return;
    }
    if (!seat->crash_loop || serving || in_state(seat, GENERATION_STARTING) || now < seat->standin_after_us ||
        seat->hooks->others_serve(seat)) {
        return;
    }
    struct generation *g = add(seat, seat->last_number + 1, GENERATION_STARTING, now);
    g->standin = true;
    g->deadline_us = now + seat->limits.start_us;
    seat->standin_after_us = now + seat->limits.retry_max_us;
    if (seat->hooks->launch(seat, g, -1) != 0) {
        drop(g);
    } else {
        log_notice("[pool %s] requests are answered with 503 until it serves again", seat->name);
    }
}

void seat_exited(struct generation *g, const char *how, uint64_t now)
{
    struct seat *seat = g->seat;
    enum generation_state was = g->state;
    bool standin = g->standin;
    char why[sizeof(g->failure)];
    snprintf(why, sizeof(why), "%s", g->failure[0] ? g->failure : how);
    drop(g);
    if (was == GENERATION_STARTING && !standin) {
        start_failed(seat, why, now);
    }
    if (was == GENERATION_READY && !standin) {
        snprintf(seat->last_failure, sizeof(seat->last_failure), "it ended %s", how);
        replace_dead(seat, now);
    }
    try_swap(seat, now);
    seat->hooks->changed(seat);
}

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

static void tick_generation(struct generation *g, uint64_t now)
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
    kill_now(g);
}

void seat_tick(struct seat *seat, uint64_t now)
{
    for (struct generation *g = seat->generations; g; g = g->next) {
        tick_generation(g, now);
    }
    if (seat->role != SEAT_SERVES) {
        return;
    }
    refill(seat, now);
    if (seat->warm_until_us != 0 && now >= seat->warm_until_us) {
        launch(seat, -1, now); /* no list: a cold start is still a start */
    } else if (seat->start_at_us != 0 && now >= seat->start_at_us && !in_state(seat, GENERATION_STARTING)) {
        if (seat->tokens > 0 && !serves(seat)) {
            seat->tokens--;
        }
        launch(seat, -1, now);
    }
    if (serves(seat)) {
        leave_crash_loop(seat);
    }
    call_standin(seat, now);
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
    kill_now(g);
}

void seat_drain(struct seat *seat, uint64_t drain_us, uint64_t now)
{
    start_nothing_more(seat, SEAT_ENDS);
    for (struct generation *g = seat->generations; g; g = g->next) {
        if (g->state == GENERATION_READY) {
            drain(g, drain_us, now);
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
    if (!in_state(seat, GENERATION_STARTING)) {
        next = sooner(next, seat->start_at_us);
        if (seat->swap_wanted && next == 0 &&
            count_state(seat, GENERATION_DRAINING) < seat->limits.max_draining) {
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
