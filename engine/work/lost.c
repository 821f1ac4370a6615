/* Workers that are lost: crashed, stuck beyond their deadline, or waiting for a lock that nobody releases.
 * One end for all of them: the client is answered, the worker leaves the table, its place is given to another
 * one, and its memory stays to the process's end, because its thread may still look. Control thread. */
#include <stdlib.h>

#include "engine/base/clock.h"
#include "engine/work/pool_private.h"

#define ABANDON_US (5 * CLOCK_US_PER_SECOND)
#define STUCK_US   (5 * CLOCK_US_PER_SECOND)

/* Between two requests. Whatever it has in hand has its end. */
static void abandon_held(struct worker *w)
{
    struct waitable *held = atomic_exchange(&w->held, NULL);

    if (held && held->lost) {
        held->lost(held);
    }
}

/* Its client is told `abandon_status` if the request can be locked. False: try again later. */
static bool abandon(struct worker *w, bool insist)
{
    struct request *r = w->request ? w->request : atomic_load(&w->queued);

    if (!r) {
        abandon_held(w);
        return true;
    }
    bool locked = pthread_mutex_trylock(&r->io_lock) == 0;

    if (!locked && !insist) {
        return false;
    }
    /* If it cannot be locked, nothing about it can be known for sure, not even whether it is finished. */
    if (!locked || !r->finished) {
        atomic_store(&r->gone, true);
        r->io->abandon(r, w->abandon_status, locked);
    } else if (r->io->forsake) {
        r->io->forsake(r);
    }
    if (!r->head_sent) {
        r->status = w->abandon_status;
    }
    /* Unlocked, it is over for us at least. */
    if (!locked || !r->io->settled || r->io->settled(r)) {
        pool_account(w->pool, w->pool->counters, r);
    }
    if (locked) {
        pthread_mutex_unlock(&r->io_lock);
    }
    return true;
}

/* Whose place another one is to take. One that crashed while its script booted may well do it again: those
 * come back one a second (residents_tick). */
static void want_another(struct pool *pool, const struct worker *w)
{
    if (w->kind == KIND_PAGE) {
        pool->lost_pages++;
    } else if (w->kind == KIND_RESIDENT) {
        pool->lost_residents += w->request != NULL;
    } else if (w->kind == KIND_CLASSIC && !pool->ondemand) {
        pool->lost_classic++;
    } /* tasks_replace() finds its own */
}

static void bury(struct pool *pool, struct worker *w)
{
    struct worker **grown = realloc(pool->lost, (pool->lost_count + 1) * sizeof(struct worker *));

    worker_set_state(w, WORKER_LOST);
    if (atomic_load(&w->waits)) {
        waitset_lost(w->lane->waitset);
    }
    workers_remove(pool, w);
    if (!grown) {
        pool_request_swap(pool, "out of memory");
        return;
    }
    pool->lost = grown;
    pool->lost[pool->lost_count++] = w;
    want_another(pool, w);
}

void lost_add(struct pool *pool, struct worker *w, bool insist, uint64_t now)
{
    atomic_store(&w->lost, true);
    if (!w->buried) {
        w->buried = abandon(w, insist);
    }
    if (pool->workers[w->id] == w) {
        w->abandoned_us = now;
        bury(pool, w);
    }
}

/* A thread that is still busy after all this, in C code that nothing reaches, ends with its process. */
void lost_tick(struct pool *pool, uint64_t now)
{
    for (uint32_t i = 0; i < pool->lost_count; i++) {
        struct worker *w = pool->lost[i];

        if (!w->buried) { /* its request could not be locked at first */
            w->buried = abandon(w, now - w->abandoned_us > ABANDON_US);
        }
        if (atomic_load(&w->asleep)) {
            worker_retire(w);
        } else if (now - w->abandoned_us > STUCK_US) {
            pool_request_swap(pool, "a worker that was written off is still busy");
        }
    }
}
