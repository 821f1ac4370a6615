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

/* Health checks of every process say so from here on, and its listeners are closed. */
static void tell_children(struct supervisor *s)
{
    for (struct child *c = s->children; c; c = c->next) {
        child_tell(c, CHANNEL_FINISH, 0);
    }
}

/* It has our sockets for its test, and would keep them open. */
static void end_test(const struct supervisor *s)
{
    if (s->test_pid > 0) {
        kill(s->test_pid, SIGKILL);
    }
}

void finish_politely(struct supervisor *s, const char *how)
{
    if (s->phase >= PHASE_FINISHING) {
        return;
    }
    s->phase = PHASE_FINISHING;
    s->finish_us = clock_us() + s->drain_us;
    log_notice("%s", how);
    notify_send("STOPPING=1\nSTATUS=%s", how);
    end_test(s);
    sockets_refuse(s->listeners);
    rest_wake_waiting(s);
    sockets_leave(s->listeners);
    tell_children(s);
    drain(s, false, s->drain_us);
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

void finish_tick(struct supervisor *s, uint64_t now)
{
    bool asked = false;
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
