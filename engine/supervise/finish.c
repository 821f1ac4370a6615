/* The way to the supervisor's end: nobody new is let in, every process is told, and the loop goes on until
 * all are gone. Supervisor's thread.
 *
 * A pool that answers requests of other pools (http.routes, http.server_name) is needed until those are gone:
 * it drains after them, within the same time. */
#include <signal.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/notify.h"
#include "engine/supervise/sockets.h"
#include "engine/supervise/state.h"

#define LEAST_US CLOCK_US_PER_SECOND /* for those that drain last */

static bool is_upstream(const struct member *m)
{
    return m->conf && m->conf->internal_listen;
}

static void stop_all(struct supervisor *s)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            seat_stop(&m->seats[i], now);
        }
    }
}

static void drain(struct supervisor *s, bool upstream, uint64_t drain_us)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; is_upstream(m) == upstream && i < m->seat_count; i++) {
            seat_drain(&m->seats[i], drain_us, now);
        }
    }
}

/* Health checks of every process say so from here on; with CHANNEL_FINISH its listeners are closed. */
static void tell_children(struct supervisor *s, enum channel_type what)
{
    for (struct child *c = s->children; c; c = c->next) {
        child_tell(c, what, 0);
    }
}

/* It has our sockets for its test, and would keep them open. */
static void end_test(const struct supervisor *s)
{
    if (s->test_pid > 0) {
        kill(s->test_pid, SIGKILL);
    }
}

static void begin_finish(struct supervisor *s)
{
    s->phase = PHASE_FINISHING;
    s->finish_us = clock_us() + s->drain_us;
    log_notice("Finishing ...");
    notify_send("STOPPING=1\nSTATUS=Finishing ...");
    end_test(s);
    sockets_refuse(s->listeners);
    rest_wake_waiting(s);
    sockets_leave(s->listeners);
    tell_children(s, CHANNEL_FINISH);
    drain(s, false, s->drain_us);
}

/* Everything goes on as before, crashed processes are replaced and sleeping pools wake up, but for new
 * configurations: whoever asks how we are is told to send others elsewhere. */
static void begin_leave(struct supervisor *s, int64_t seconds)
{
    s->phase = PHASE_LEAVING;
    s->reload_wanted = false;
    s->leave_us = clock_us() + (uint64_t)seconds * CLOCK_US_PER_SECOND;
    log_notice("Draining: connections are taken for %lld more seconds ...", (long long)seconds);
    notify_send("STOPPING=1\nSTATUS=Draining, connections are still taken ...");
    end_test(s);
    tell_children(s, CHANNEL_LEAVE);
}

/* A second order changes nothing: one may come from who stops us, and one from what was to prepare that. */
void finish_politely(struct supervisor *s)
{
    bool known = s->phase != PHASE_LAUNCHING || s->adopted; /* somebody may have been sent to us */
    if (s->phase >= PHASE_LEAVING) {
        return;
    }
    if (known && s->config->global.drain_delay > 0) {
        begin_leave(s, s->config->global.drain_delay);
    } else {
        begin_finish(s);
    }
}

void finish_at_once(struct supervisor *s)
{
    if (s->phase == PHASE_TERMINATING) {
        return;
    }
    s->phase = PHASE_TERMINATING;
    log_notice("Terminating ...");
    notify_send("STOPPING=1\nSTATUS=Terminating ...");
    end_test(s);
    sockets_refuse(s->listeners);
    sockets_leave(s->listeners);
    stop_all(s);
}

static bool is_gone(const struct supervisor *s, const struct member *m)
{
    const struct child *c = s->children;
    while (c && c->member != m) {
        c = c->next;
    }
    return c == NULL;
}

uint64_t finish_next_us(const struct supervisor *s)
{
    return s->phase == PHASE_LEAVING ? s->leave_us : 0;
}

void finish_tick(struct supervisor *s, uint64_t now)
{
    bool asked = false;
    if (s->phase == PHASE_LEAVING && now >= s->leave_us) {
        begin_finish(s);
    }
    for (const struct member *m = s->members; s->phase == PHASE_FINISHING && m; m = m->next) {
        bool gone = is_gone(s, m);
        asked = asked || (!gone && !is_upstream(m));
        if (gone && m->conf && (s->finishes_upstream || !is_upstream(m))) {
            sockets_close(s->listeners, m->conf);
        }
    }
    if (s->phase == PHASE_FINISHING && !asked && !s->finishes_upstream) {
        s->finishes_upstream = true;
        drain(s, true, s->finish_us > now + LEAST_US ? s->finish_us - now : LEAST_US);
    }
}
