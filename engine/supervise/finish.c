/* The way to the supervisor's end: every process is told, and the loop goes on until all are gone.
 * Supervisor's thread. */
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/notify.h"
#include "engine/supervise/state.h"

static void end_seats(struct supervisor *s, bool now_at_once)
{
    uint64_t now = clock_us();
    for (struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            if (now_at_once) {
                seat_stop(&m->seats[i], now);
            } else {
                seat_drain(&m->seats[i], s->drain_us, now);
            }
        }
    }
}

/* Health checks of every process say so from here on. */
static void tell_children(struct supervisor *s)
{
    for (struct child *c = s->children; c; c = c->next) {
        child_tell(c, CHANNEL_FINISH, 0);
    }
}

void finish_politely(struct supervisor *s, const char *how)
{
    if (s->phase >= PHASE_FINISHING) {
        return;
    }
    s->phase = PHASE_FINISHING;
    log_notice("%s", how);
    notify_send("STOPPING=1\nSTATUS=%s", how);
    tell_children(s);
    end_seats(s, false);
}

void finish_at_once(struct supervisor *s)
{
    if (s->phase == PHASE_TERMINATING) {
        return;
    }
    s->phase = PHASE_TERMINATING;
    log_notice("Terminating ...");
    notify_send("STOPPING=1\nSTATUS=Terminating ...");
    end_seats(s, true);
}
