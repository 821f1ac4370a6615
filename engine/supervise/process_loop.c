/* The control loop of an engine process: the supervisor's messages, signals, the pool's events, one tick
 * every 100 ms; none while nothing runs and nobody is connected. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/high_fd.h"
#include "engine/base/log.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/generation.h"
#include "engine/supervise/pool_keys.h"
#include "engine/supervise/process_private.h"
#include "engine/work/profile.h"

#define TICK_MS          100
#define REST_US          (2 * CLOCK_US_PER_SECOND) /* idle for so long: no more ticks */
#define INTERRUPT_MAX_US (2 * CLOCK_US_PER_SECOND) /* before the deadline, so that scripts can still end */

static int hand_over_channel; /* constant once there are threads */

static bool hand_over(const struct frontend *frontend, int fd, int kind)
{
    return channel_send(hand_over_channel, CHANNEL_HAND_OVER, kind, frontend->name, &fd, 1) == 0;
}

void process_loop_open(struct process *p)
{
    hand_over_channel = p->args->channel;
    atomic_store(&pool_on_hand_over, hand_over);
}

/* The supervisor's word, and not before: what it has not let in yet it can still kill without a loss. */
static void open_doors(struct process *p)
{
    if (p->open || p->draining) {
        return;
    }
    p->open = true;
    pool_open(p->pool);
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->open && frontends[i]->open(p->pool) != 0) {
            p->stopping = true;
        }
    }
}

static void begin_drain(struct process *p, uint64_t ms)
{
    if (p->draining) {
        return;
    }
    if (!p->open) {
        p->stopping = true; /* nobody has been let in */
        return;
    }
    uint64_t now = clock_us();
    uint64_t total = ms * 1000;
    uint64_t margin = total / 4 < INTERRUPT_MAX_US ? total / 4 : INTERRUPT_MAX_US;
    p->draining = true;
    p->deadline_us = now + total;
    p->interrupt_us = p->deadline_us - margin;
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->drain) {
            frontends[i]->drain(p->pool);
        }
    }
    pool_drain(p->pool);
}

/* The whole server ends, or we are what is left of it: nobody comes after us. */
static void finish(struct process *p)
{
    if (pool_finishing(p->pool)) {
        return;
    }
    pool_finish(p->pool);
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->refuse) {
            frontends[i]->refuse(p->pool);
        }
    }
}

static void adopt(struct process *p, struct channel_message *m)
{
    for (size_t i = 0; frontends[i] && m->fd_count == 1; i++) {
        if (frontends[i]->adopt && strcmp(frontends[i]->name, m->text) == 0) {
            m->fd_count = 0;
            frontends[i]->adopt(p->pool, high_fd(m->fds[0]), (int)m->number);
        }
    }
}

static void take_keys(struct process *p, struct channel_message *m)
{
    struct pool_keys keys;
    for (size_t i = 0; pool_keys_read(&keys, m->text) && frontends[i]; i++) {
        if (frontends[i]->rekey) {
            frontends[i]->rekey(p->pool, &keys);
        }
    }
    explicit_bzero(&keys, sizeof(keys));
    explicit_bzero(m->text, sizeof(m->text));
}

static void forget(struct process *p)
{
    if (p->executor->forget) {
        p->executor->forget();
    }
}

/* Who asks looks away from our listeners until we say again that we rest. */
static void answer(struct process *p)
{
    channel_send(p->args->channel, CHANNEL_ALIVE, 0, NULL, NULL, 0);
    p->rest_said = false;
    p->say_us = clock_us() + REST_US;
}

static void begin_profile(struct process *p, struct channel_message *m)
{
    if (m->fd_count == 1) {
        m->fd_count = 0;
        profile_begin(p->pool, &(struct profile_order){.hz = (unsigned)(m->number >> 32),
                                                       .ms = (unsigned)(m->number & UINT32_MAX),
                                                       .quiet = strcmp(m->text, CHANNEL_QUIET) == 0,
                                                       .fd = m->fds[0]});
    }
}

static void obey(struct process *p, struct channel_message *m)
{
    switch (m->type) {
    case CHANNEL_SERVE: open_doors(p); break;
    case CHANNEL_DRAIN: begin_drain(p, m->number > 0 ? (uint64_t)m->number : p->args->drain_ms); break;
    case CHANNEL_LEAVE: pool_leave(p->pool); break;
    case CHANNEL_FINISH: finish(p); break;
    case CHANNEL_KEYS: take_keys(p, m); break;
    case CHANNEL_STOP: p->stopping = true; break;
    case CHANNEL_ADOPT: adopt(p, m); break;
    case CHANNEL_WANT_WARM_LIST: warm_list_send(p); break;
    case CHANNEL_FORGET: forget(p); break;
    case CHANNEL_ASK: answer(p); break;
    case CHANNEL_PROFILE: begin_profile(p, m); break;
    default: break;
    }
    channel_close_fds(m);
}

static void hear_supervisor(struct process *p)
{
    static struct channel_message message; /* the one control thread's; too large for a comfortable stack */
    int rc;
    while ((rc = channel_receive(p->args->channel, &message, NULL)) > 0) {
        obey(p, &message);
    }
    if (rc < 0 && !p->orphan) {
        p->orphan = true;
        atomic_store(&pool_on_hand_over, NULL);
        log_write(p->draining ? LEVEL_DEBUG : LEVEL_ERROR, __func__, __LINE__,
                  "[pool %s] the supervisor is gone; engine process %d finishes what it runs and ends",
                  p->args->pool->name, (int)getpid());
        finish(p);
        begin_drain(p, p->args->drain_ms);
    }
}

void process_loop_forget(struct process *p)
{
    static struct channel_message message;
    while (channel_next_is(p->args->channel, CHANNEL_FORGET) &&
           channel_receive(p->args->channel, &message, NULL) > 0) {
        obey(p, &message);
    }
}

static void hear_signals(struct process *p)
{
    struct process_signals found = process_signals_look();
    if (found.term) {
        p->stopping = true;
    }
    if (found.quit) {
        begin_drain(p, p->args->drain_ms);
    }
}

static void tell_swap(struct process *p)
{
    const char *why = p->draining ? NULL : pool_swap_reason(p->pool);
    uint32_t renewals = pool_renewals(p->pool), resets = pool_resets(p->pool);
    int kind = renewals != p->renewals_said    ? SWAP_RENEWAL
               : resets != p->resets_said      ? SWAP_RESET
               : pool_swap_is_planned(p->pool) ? SWAP_PLANNED
                                               : SWAP_STATE;
    bool is_news = why != p->swap_said || kind == SWAP_RENEWAL || kind == SWAP_RESET ||
                   (kind == SWAP_PLANNED && p->swap_kind_said == SWAP_STATE);
    if (why && is_news && channel_send(p->args->channel, CHANNEL_SWAP, kind, why, NULL, 0) == 0) {
        p->swap_said = why;
        p->swap_kind_said = kind;
        p->renewals_said = renewals;
        p->resets_said = resets;
    }
}

static void tell_lost(struct process *p)
{
    if (!p->draining && !p->lost_said && pool_is_lost(p->pool)) {
        p->lost_said =
            channel_send(p->args->channel, CHANNEL_LOST, 0, "no worker can take a request", NULL, 0) == 0;
    }
}

/* Said once all that could take new work knows of the drain. If a thread of this process is stuck, for
 * example on a lock that a crash has taken along, it is never said, and the supervisor does not wait. */
static void tell_heard(struct process *p)
{
    for (size_t i = 0; frontends[i]; i++) {
        if (frontends[i]->drain_heard && !frontends[i]->drain_heard(p->pool)) {
            return;
        }
    }
    p->heard = channel_send(p->args->channel, CHANNEL_DRAINING, 0, NULL, NULL, 0) == 0;
}

static void tick(struct process *p)
{
    uint64_t now = p->ticked_us = clock_us();
    pool_tick(p->pool);
    tell_swap(p);
    tell_lost(p);
    if (now >= p->second_us) {
        p->second_us = now + CLOCK_US_PER_SECOND;
        for (size_t i = 0; frontends[i]; i++) {
            if (frontends[i]->tick) {
                frontends[i]->tick(p->pool);
            }
        }
    }
    if (p->draining && !p->heard && !p->orphan) {
        tell_heard(p);
    }
    if (p->draining && !p->interrupted && now >= p->interrupt_us) {
        p->interrupted = true;
        pool_interrupt_all(p->pool);
    }
}

bool process_is_drained(struct process *p)
{
    bool drained = p->draining;
    for (size_t i = 0; p->draining && frontends[i]; i++) { /* each is asked: they act on it */
        drained &= !frontends[i]->drained || frontends[i]->drained(p->pool);
    }
    return drained && pool_idle(p->pool);
}

/* -- rest -- */

static void tell_stirs(struct process *p)
{
    p->idle_us = 0;
    if (p->rest_said && channel_send(p->args->channel, CHANNEL_STIRS, 0, NULL, NULL, 0) == 0) {
        p->rest_said = false;
    }
}

/* How long to wait for events. From pool_rest() until pool_stir() a new connection wakes us. */
static int wait_ms(struct process *p)
{
    uint64_t now = clock_us(), accepted = pool_accepted(p->pool);
    bool rests = p->open && !p->draining && !p->orphan && pool_rest(p->pool, p->args->sleeps);
    if (!rests || accepted != p->accepted) {
        p->accepted = accepted;
        tell_stirs(p);
        return TICK_MS;
    }
    p->idle_us = p->idle_us ? p->idle_us : now;
    if (now - p->idle_us < REST_US || now < p->say_us) {
        return TICK_MS;
    }
    if (!p->rest_said) {
        int64_t idle_ms = (int64_t)((now - p->idle_us) / 1000);
        p->rest_said = channel_send(p->args->channel, CHANNEL_RESTS, idle_ms, NULL, NULL, 0) == 0;
    }
    return p->rest_said ? -1 : TICK_MS;
}

/* A profile looks at the workers more often than there are ticks. True: it is time for one, or something has
 * happened. */
static bool wait_for_events(struct process *p, struct pollfd *fds, nfds_t count)
{
    int rest_ms = wait_ms(p);
    uint64_t now = clock_us(), next = p->ticked_us + (uint64_t)TICK_MS * 1000;
    int64_t sample_us = profile_tick(p->pool, now, rest_ms < 0);
    int64_t wait_us = rest_ms < 0     ? -1
                      : sample_us < 0 ? TICK_MS * 1000
                      : next > now    ? (int64_t)(next - now)
                                      : 0;
    bool samples = sample_us >= 0 && (wait_us < 0 || sample_us < wait_us);
    wait_us = samples ? sample_us : wait_us;
    struct timespec wait = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
    int ready = ppoll(fds, count, wait_us < 0 ? NULL : &wait, NULL);
    if (ready < 0 && errno != EINTR) {
        log_sys(LEVEL_ERROR, "[pool %s] poll", p->args->pool->name);
    }
    return ready != 0 || !samples;
}

void process_loop(struct process *p)
{
    struct pollfd fds[3] = {{.fd = p->args->channel, .events = POLLIN},
                            {.fd = pool_event_fd(p->pool), .events = POLLIN},
                            {.fd = p->wake_fd, .events = POLLIN}};
    while (!p->stopping && !process_is_drained(p)) {
        bool ticks = wait_for_events(p, fds, 3);
        pool_stir(p->pool);
        if (fds[0].revents) {
            hear_supervisor(p);
        }
        if (p->orphan) {
            fds[0].fd = -1;
        }
        if (fds[2].revents) {
            hear_signals(p);
        }
        if (ticks) {
            tick(p);
        }
        if (p->orphan && clock_us() >= p->deadline_us) {
            break;
        }
    }
    profile_end();
}
