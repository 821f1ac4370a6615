/* A resident: see resident.h. The life of its thread, the executor's calls on it, and how it comes to be. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"
#include "engine/work/resident_private.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS  1000
#define DOWN_MS          5000 /* between two boots once too many have failed */
#define SLICE_MS         20
#define BOOT_LIMIT_US    (60 * CLOCK_US_PER_SECOND)

/* -- what the executor calls -- */

void resident_ready(struct worker *w)
{
    struct resident *own = w->resident;

    metrics_count(w->pool->board, TOTAL_BOOTS, 1);
    metrics_count(w->pool->board, TOTAL_BOOT_US, clock_us() - atomic_exchange(&own->booting_since_us, 0));
    own->ready = true;
    own->down = own->asked = false;
    own->failures = 0;
    worker_stands(w);
}

void resident_keeps(struct worker *w, uint64_t bytes)
{
    uint64_t kib = bytes / 1024;

    kib = kib <= SCRIPT_BOOTS ? SCRIPT_BOOTS + 1 : kib >= SCRIPT_DOWN ? SCRIPT_DOWN - 1 : kib;
    atomic_store_explicit(&w->slot->script_kib, (uint32_t)kib, memory_order_relaxed);
}

void resident_ends(struct worker *w, enum restart_reason why)
{
    w->resident->end = why;
}

bool resident_serve(struct worker *w)
{
    struct resident *own = w->resident;
    bool rested = false;

    own->waits = true;
    while (own->waits && !atomic_load(&w->pool->ending)) {
        worker_look(w, &rested, -1);
    }
    bool served = !own->waits;

    own->waits = false;
    worker_set_state(w, WORKER_CREATING); /* the script's own code runs */
    return served;
}

void resident_failed(struct worker *w, const char *why, bool shown)
{
    snprintf(w->resident->why, sizeof(w->resident->why), "%s", why);
    w->resident->shown = shown;
}

/* -- the thread -- */

static void wait_slices(const struct pool *pool, uint64_t until)
{
    while (!atomic_load(&pool->ending) && clock_us() < until) {
        nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000L}, NULL);
    }
}

static void stand_down(struct worker *w)
{
    w->resident->down = true;
    atomic_store(&w->slot->script_kib, SCRIPT_DOWN);
    worker_stands(w);
}

static void wait_down(struct worker *w, uint64_t until)
{
    bool rested = true;

    stand_down(w);
    for (uint64_t now = clock_us(); !atomic_load(&w->pool->ending) && now < until; now = clock_us()) {
        worker_look(w, &rested, (int)((until - now) / 1000) + 1);
    }
}

/* Somebody works on the script, so each request boots it anew, and is told if that fails again. */
static void wait_asked(struct worker *w)
{
    struct resident *own = w->resident;
    bool rested = true;

    stand_down(w);
    if (own->asked) {
        worker_look(w, &rested, 0);
    }
    worker_wait_queued(w);
    own->asked = true;
}

/* After a boot that failed. False: the thread is given up, as the whole start is. */
static bool wait_for_next_boot(struct worker *w)
{
    struct resident *own = w->resident;
    struct pool *pool = w->pool;
    int64_t most = pool->conf->s.worker_failures;
    unsigned shift = own->failures < 4 ? own->failures : 4;
    unsigned ms = BACKOFF_FIRST_MS << shift;

    own->failures++;
    metrics_count(pool->board, TOTAL_BOOT_FAILURES, 1);
    residents_note_failure(pool, own->why);
    if (own->shown) {
        log_limited(LEVEL_ERROR, "[pool %s] %s; its next request boots it again", pool->conf->name, own->why);
        wait_asked(w);
        return true;
    }
    bool too_many = most >= 0 && own->failures > (uint64_t)most;

    if (too_many && !atomic_load(&pool->open)) {
        return false;
    }
    ms = too_many ? DOWN_MS : ms < BACKOFF_MOST_MS ? ms : BACKOFF_MOST_MS;
    log_limited(LEVEL_ERROR, "[pool %s] %s; it is booted again in %u ms%s", pool->conf->name, own->why, ms,
                too_many ? ", until then its requests are answered with 503" : "");
    if (too_many) {
        wait_down(w, clock_us() + (uint64_t)ms * 1000);
    } else {
        wait_slices(pool, clock_us() + (uint64_t)ms * 1000);
    }
    return true;
}

static bool live(struct worker *w)
{
    struct resident *own = w->resident;
    struct pool *pool = w->pool;

    while (!atomic_load(&pool->ending)) {
        own->ready = false;
        own->end = RESTART_ENDED;
        own->shown = false;
        snprintf(own->why, sizeof(own->why), "the worker script did not boot");
        worker_set_state(w, WORKER_CREATING);
        atomic_store(&w->slot->script_kib, SCRIPT_BOOTS);
        atomic_store(&own->booting_since_us, clock_us());
        pool->executor->hold(w);
        atomic_store(&own->booting_since_us, 0);
        if (own->ready && !atomic_load(&pool->ending)) {
            metrics_count(pool->board, TOTAL_RESTARTS + (enum metrics_total)own->end, 1);
        }
        if (!own->ready && !atomic_load(&pool->ending) && !wait_for_next_boot(w)) {
            log_error("[pool %s] %s", pool->conf->name, own->why);
            return false;
        }
    }
    lane_wake(w->lane); /* the next one that sleeps must hear of the end, too */
    return true;
}

/* -- the control thread -- */

void residents_add(struct pool *pool, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct worker_plan plan = {.kind = KIND_RESIDENT, .work = live};

        plan.resident = calloc(1, sizeof(*plan.resident));
        if (!plan.resident || workers_add(pool, &plan) != 0) {
            free(plan.resident);
        }
    }
}

/* One a second comes back of those that crashed while they booted: they may well do it again. */
void residents_tick(struct pool *pool, uint64_t now)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct worker *w = pool->workers[i];

        if (!w || !w->resident) {
            continue;
        }
        count++;
        uint64_t since = atomic_load(&w->resident->booting_since_us);

        if (since && now > since + BOOT_LIMIT_US) {
            pool_request_swap(pool, "the worker script does not come up");
        }
    }
    if (count < pool->residents.count && !atomic_load(&pool->draining)) {
        residents_add(pool, 1);
    }
    if (pool->residents.count > 0 && !atomic_load(&pool->draining)) {
        residents_follow(pool);
    }
}
