/* The event loop's thread, its inbox and its clockwork. See the header. */
#include "http/net/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/base/thread.h"
#include "http/net/conn.h"

#define SWEEP_MS 250
#define LATE_US  (1 * CLOCK_US_PER_SECOND)

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t ignored = write(loop->wake_fd, &one, sizeof one); /* full = it will wake anyway */
    (void)ignored;
}

void loop_post(struct loop *loop, struct loop_message *message)
{
    struct loop_message *first = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        message->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &first, message, memory_order_release,
                                                    memory_order_relaxed));
    if (!first) {
        wake(loop);
    }
}

/* Oldest first: what one sender posted arrives in its order. */
static struct loop_message *take_inbox(struct loop *loop)
{
    struct loop_message *message = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    struct loop_message *ordered = NULL;
    while (message) {
        struct loop_message *next = message->next;
        message->next = ordered;
        ordered = message;
        message = next;
    }
    return ordered;
}

static void run_inbox(struct loop *loop)
{
    for (struct loop_message *message = take_inbox(loop); message;) {
        struct loop_message *next = message->next;
        message->run(loop, message);
        message = next;
    }
}

void loop_again(struct loop *loop, struct conn *conn)
{
    if (conn->in_again) {
        return;
    }
    if (!loop->again && !loop->in_inbox) {
        wake(loop);
    }
    conn->in_again = true;
    conn->next_again = loop->again;
    loop->again = conn;
}

/* Calls this function of every part that has it, in the order of the list. */
#define EACH_PART(loop, function)                                                                            \
    for (const struct loop_part *const *part = (loop)->front->loop_parts; *part; part++) {                   \
        if ((*part)->function) {                                                                             \
            (*part)->function(loop);                                                                         \
        }                                                                                                    \
    }

static const struct timeval sweep_period = {0, SWEEP_MS * 1000};

void loop_stir(struct loop *loop)
{
    if (loop->still && event_add(loop->sweep_event, &sweep_period) == 0) {
        loop->still = false;
        loop->swept_us = loop->now_us;
    }
}

static void lie_still(struct loop *loop)
{
    for (const struct loop_part *const *part = loop->front->loop_parts; *part; part++) {
        if ((*part)->waits && (*part)->waits(loop)) {
            return;
        }
    }
    loop->still = event_del(loop->sweep_event) == 0;
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct loop *loop = ctx;
    uint64_t count;
    ssize_t ignored = read((int)fd, &count, sizeof count);
    (void)ignored;
    (void)what;
    loop->now_us = clock_coarse_us();
    loop_stir(loop);
    loop->in_inbox = true;
    run_inbox(loop);
    loop->in_inbox = false;
    EACH_PART(loop, turn)
}

/* This thread got no processor for a while, or its machine stood still. What clients sent meanwhile is heard
 * before anyone of them is called late, and that time is not counted; but once, or a machine that is always
 * late would have no deadlines. */
static bool is_late(struct loop *loop)
{
    uint64_t since = loop->now_us - loop->swept_us;
    loop->swept_us = loop->now_us;
    loop->was_late = !loop->was_late && since > LATE_US;
    for (const struct loop_part *const *part = loop->front->loop_parts; loop->was_late && *part; part++) {
        if ((*part)->late) {
            (*part)->late(loop, since);
        }
    }
    return loop->was_late;
}

static void on_sweep(evutil_socket_t fd, short what, void *ctx)
{
    struct loop *loop = ctx;
    (void)fd;
    (void)what;
    loop->now_us = clock_coarse_us();
    if (is_late(loop)) {
        return;
    }
    EACH_PART(loop, sweep)
    EACH_PART(loop, turn)
    lie_still(loop);
}

/* -- life -- */

static void run_refuse(struct loop *loop, struct loop_message *self)
{
    (void)self;
    EACH_PART(loop, refuse)
}

static void run_drain(struct loop *loop, struct loop_message *self)
{
    (void)self;
    EACH_PART(loop, drain)
    atomic_fetch_add(&loop->front->loops_draining, 1);
}

static void run_stop(struct loop *loop, struct loop_message *self)
{
    (void)self;
    event_base_loopbreak(loop->base);
}

void loop_refuse(struct loop *loop)
{
    loop->refuse_message.run = run_refuse;
    loop_post(loop, &loop->refuse_message);
}

void loop_drain(struct loop *loop)
{
    loop->drain_message.run = run_drain;
    loop_post(loop, &loop->drain_message);
}

static int open_parts(struct loop *loop)
{
    for (const struct loop_part *const *part = loop->front->loop_parts; *part; part++) {
        if ((*part)->open && (*part)->open(loop) != 0) {
            return -1;
        }
    }
    return 0;
}

struct loop *loop_create(struct http_front *front, int id)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop) {
        return NULL;
    }
    loop->front = front;
    loop->id = id;
    loop->counters = pool_counters(front->pool);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->base = event_base_new();
    loop->scratch = malloc(LOOP_SCRATCH);
    loop->scratch_out = malloc(LOOP_SCRATCH_OUT);
    if (loop->base && loop->wake_fd >= 0) {
        loop->wake_event = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
        loop->sweep_event = event_new(loop->base, -1, EV_PERSIST, on_sweep, loop);
    }
    if (!loop->scratch || !loop->scratch_out || !loop->wake_event || !loop->sweep_event ||
        event_add(loop->wake_event, NULL) != 0 || event_add(loop->sweep_event, &sweep_period) != 0 ||
        open_parts(loop) != 0) {
        log_alert("cannot make an event loop: %s", strerror(errno));
        loop_destroy(loop);
        return NULL;
    }
    loop->now_us = loop->swept_us = clock_coarse_us();
    return loop;
}

static void *loop_main(void *ctx)
{
    struct loop *loop = ctx;
    char name[16];
    snprintf(name, sizeof name, "http-loop-%d", loop->id % 1000);
    pthread_setname_np(pthread_self(), name);
    event_base_dispatch(loop->base);
    return NULL;
}

int loop_start(struct loop *loop)
{
    return thread_start(&loop->thread, loop_main, loop);
}

void loop_stop(struct loop *loop)
{
    loop->stop_message.run = run_stop;
    loop_post(loop, &loop->stop_message);
    pthread_join(loop->thread, NULL);
}

void loop_destroy(struct loop *loop)
{
    if (loop->base) {
        run_inbox(loop); /* what workers posted last; none of them runs any more */
    }
    for (const struct loop_part *const *part = loop->front->loop_parts; *part; part++) {
        if ((*part)->close) {
            (*part)->close(loop);
        }
        run_inbox(loop);
    }
    if (loop->wake_event) {
        event_free(loop->wake_event);
    }
    if (loop->sweep_event) {
        event_free(loop->sweep_event);
    }
    if (loop->base) {
        event_base_free(loop->base);
    }
    if (loop->wake_fd >= 0) {
        close(loop->wake_fd);
    }
    free(loop->scratch);
    free(loop->scratch_out);
    free(loop);
}
