/* Starts, and what keeps a broken pool from becoming a fork storm. A start that fails is tried again after a
 * pause that doubles. A process that had been ready and dies is replaced at once, as long as the seat has
 * tokens, which come back one by one. Without tokens, or after several failed starts, the seat says once that
 * it is in a crash loop, and goes on trying at intervals; meanwhile a stand-in answers. Supervisor's thread.
 */
#include <stdio.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/supervise/generation_private.h"

#define LOOP_FAILURES 3 /* failed starts in a row that are called a crash loop */

/* PHP runs here. */
bool seat_runs_php(const struct seat *seat)
{
    const struct generation *g = seat_serving(seat);
    return g && !g->standin;
}

void seat_start_failed(struct seat *seat, const char *why, uint64_t now)
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
              seat_runs_php(seat) ? "the old one goes on serving"
                                  : "nothing serves this pool until one does");
    if (seat->failures == LOOP_FAILURES && !seat->crash_loop) {
        seat->crash_loop = true;
        log_alert(
            "[pool %s] crash loop: %u starts failed in a row (%s); trying again at intervals of up to %u s",
            seat->name, seat->failures, why, (unsigned)(seat->limits.retry_max_us / CLOCK_US_PER_SECOND));
    }
}

void seat_launch(struct seat *seat, int warm_fd, uint64_t now)
{
    MUST(seat->role == SEAT_SERVES);
    struct generation *g = generation_add(seat, seat->last_number + 1, GENERATION_STARTING, now);
    g->awaited = seat->asleep;
    seat->start_at_us = 0;
    seat->warm_until_us = 0;
    seat->asleep = false;
    seat->swap_wanted = false; /* what starts now is newer than any reason so far */
    g->deadline_us = now + seat->limits.start_us;
    if (seat->hooks->launch(seat, g, warm_fd) != 0) {
        generation_drop(g);
        seat_start_failed(seat, "no process could be created", now);
    }
}

void crash_loop_leave(struct seat *seat)
{
    if (seat->crash_loop && seat->failures == 0 && seat->tokens > 0) {
        seat->crash_loop = false;
        log_notice("[pool %s] serves again", seat->name);
    }
}

void crash_loop_refill(struct seat *seat, uint64_t now)
{
    uint64_t back = (now - seat->refilled_us) / seat->limits.refill_us;
    if (back > 0) {
        seat->refilled_us += back * seat->limits.refill_us;
        uint64_t tokens = seat->tokens + back;
        seat->tokens = tokens > seat->limits.burst ? seat->limits.burst : (unsigned)tokens;
    }
}

/* A serving process is gone. A replacement that is starting already serves as one for it. */
void crash_loop_replace(struct seat *seat, uint64_t now)
{
    if (seat->role != SEAT_SERVES || generation_in(seat, GENERATION_STARTING) || seat_serving(seat)) {
        return;
    }
    seat->warm_until_us = 0;
    crash_loop_refill(seat, now);
    if (seat->tokens > 0) {
        seat->tokens--;
        seat_launch(seat, -1, now);
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

/* Clients of a pool that nothing can serve get an answer, not a wait. Seats share their sockets: while
 * another one serves, a stand-in would take its requests away. */
void crash_loop_call_standin(struct seat *seat, uint64_t now)
{
    struct generation *serving = seat_serving(seat);
    if (serving && serving->standin && seat->hooks->others_serve(seat)) {
        generation_drain(serving, seat->limits.drain_us, now);
        return;
    }
    if (!seat->crash_loop || serving || generation_in(seat, GENERATION_STARTING) ||
        now < seat->standin_after_us || seat->hooks->others_serve(seat)) {
        return;
    }
    struct generation *g = generation_add(seat, seat->last_number + 1, GENERATION_STARTING, now);
    g->standin = true;
    g->deadline_us = now + seat->limits.start_us;
    seat->standin_after_us = now + seat->limits.retry_max_us;
    if (seat->hooks->launch(seat, g, -1) != 0) {
        generation_drop(g);
    } else {
        log_notice("[pool %s] requests are answered with 503 until it serves again", seat->name);
    }
}
