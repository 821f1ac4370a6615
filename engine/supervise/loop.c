/* One turn of the supervisor's loop: everything that can speak to it in one poll(2), each heard once, and the
 * time until something is due. The supervisor's one thread. The list of sources is made anew every turn:
 * there are a few dozen, and it cannot be stale. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/closer.h"
#include "engine/supervise/control.h"
#include "engine/supervise/state.h"

#define START_SILENCE_US CLOCK_US_PER_SECOND

enum source_kind {
    SOURCE_SIGNAL,
    SOURCE_JOURNAL,
    SOURCE_CHANNEL,
    SOURCE_LOOKOUT,
    SOURCE_KEPT,
    SOURCE_TALKER,
    SOURCE_TEST,
    SOURCE_CONTROL,
    SOURCE_CLIENT,
    SOURCE_WATCHED,
    SOURCE_LISTENER
};

struct sources {
    struct pollfd *fds;
    struct source {
        enum source_kind kind;
        void *object;
    } * what;
    size_t count, size;
};

static struct sources sources; /* kept from turn to turn for its memory */

static void watch(struct sources *w, int fd, enum source_kind kind, void *object)
{
    if (fd < 0) {
        return;
    }
    if (w->count == w->size) {
        w->size = w->size ? w->size * 2 : 64;
        w->fds = xrealloc(w->fds, w->size * sizeof(*w->fds));
        w->what = xrealloc(w->what, w->size * sizeof(*w->what));
    }
    w->fds[w->count] = (struct pollfd){.fd = fd, .events = POLLIN};
    w->what[w->count++] = (struct source){kind, object};
}

/* What a process says while it starts stands in the log after the line that it has started, as in php-fpm;
 * but a talkative one must not wait for us for long, with its pipe full. */
static uint64_t listen_from_us(const struct child *c)
{
    return c->generation->state == GENERATION_STARTING ? c->generation->launched_us + START_SILENCE_US : 0;
}

/* Of those that sleep, for a process is to be started then; of those that rest, for they may be stopped. */
static void watch_listeners(const struct supervisor *s, struct sources *w)
{
    for (struct member *m = s->members; m; m = m->next) {
        bool rests = member_rests(m);
        for (const struct listener *l = s->listeners; rests && l; l = l->next) {
            if (l->pool == m->conf) {
                watch(w, l->fd, SOURCE_LISTENER, m);
            }
        }
    }
}

static void collect(struct supervisor *s, struct sources *w)
{
    uint64_t now = clock_us();
    w->count = 0;
    watch(w, s->test_fd, SOURCE_TEST, s);
    watch(w, s->control_fd, SOURCE_CONTROL, s);
    watch(w, s->watched_fd, SOURCE_WATCHED, s);
    for (struct control_client *c = s->clients; c; c = control_client_next(c)) {
        watch(w, control_client_fd(c), SOURCE_CLIENT, c);
    }
    for (struct child *c = s->children; c; c = c->next) {
        watch(w, c->journal_fd, SOURCE_JOURNAL, c);
        watch(w, c->channel, SOURCE_CHANNEL, c);
        watch(w, c->lookout, SOURCE_LOOKOUT, c);
        watch(w, c->kept_fd, SOURCE_KEPT, c);
        talkers_begin_turn(c);
        for (struct talker *t = listen_from_us(c) <= now ? c->talkers : NULL; t; t = t->next) {
            watch(w, t->fd, SOURCE_TALKER, t);
        }
    }
    watch_listeners(s, w);
    watch(w, s->signal_fd, SOURCE_SIGNAL, s); /* last: what was said before a signal is logged before it */
}

/* Children are freed only by reaping, which comes after this, and talkers by themselves, so that no source
 * here is stale. */
static void dispatch(struct supervisor *s, const struct sources *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->fds[i].revents == 0) {
            continue;
        }
        void *object = w->what[i].object;
        switch (w->what[i].kind) {
        case SOURCE_SIGNAL: signals_read(s); break;
        case SOURCE_JOURNAL: child_read_journal(object); break;
        case SOURCE_CHANNEL: child_hear(object); break;
        case SOURCE_LOOKOUT: child_ask(object); break;
        case SOURCE_KEPT: keeping_read(object); break;
        case SOURCE_TALKER: talker_read(object); break;
        case SOURCE_TEST: upgrade_read(s); break;
        case SOURCE_CONTROL: control_accept(s); break;
        case SOURCE_CLIENT: control_read(s, object); break;
        case SOURCE_WATCHED: watched_read(s); break;
        case SOURCE_LISTENER: member_wake(object); break;
        }
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static int wait_ms(const struct supervisor *s)
{
    uint64_t now = clock_us();
    uint64_t next = sooner(s->notify_us, s->test_pid > 0 ? s->test_deadline_us : 0);
    next = sooner(next, control_next_us(s));
    next = sooner(next, s->keys_us);
    next = sooner(next, s->phase == PHASE_RUNNING ? s->renew_us : 0);
    next = sooner(next, rest_next_us(s));
    next = sooner(next, story_next_us(s));
    next = sooner(next, pulse_next_us(s));
    next = sooner(next, finish_next_us(s));
    next = sooner(next, closer_next_us());
    next = sooner(next, s->report_fd >= 0 ? s->report_latest_us : 0);
    for (const struct child *c = s->children; c; c = c->next) {
        uint64_t from = listen_from_us(c);
        next = from > now ? sooner(next, from) : next;
    }
    for (const struct member *m = s->members; m; m = m->next) {
        for (int i = 0; i < m->seat_count; i++) {
            next = sooner(next, seat_next_us(&m->seats[i]));
        }
    }
    if (next == 0) {
        return -1;
    }
    uint64_t ms = next <= now ? 0 : (next - now) / 1000 + 1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

void loop_wait(struct supervisor *s)
{
    collect(s, &sources);
    int ready = poll(sources.fds, sources.count, wait_ms(s));
    if (ready > 0) {
        dispatch(s, &sources);
    } else if (ready < 0 && errno != EINTR) {
        log_sys(LEVEL_ERROR, "poll");
        usleep(100000); /* out of memory in the kernel: not in a circle */
    }
}
