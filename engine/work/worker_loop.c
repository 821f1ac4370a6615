/* How a worker finds work: first in its lane's queues, then in the lane's wait set; before a long sleep the
 * executor gives memory back; an order to park or to end is obeyed between requests. Everything here runs on
 * the worker's thread. */
#include "engine/base/clock.h"
#include "engine/work/pool_private.h"

#define IDLE_MS      2000 /* idle for so long: the executor gives its heap back */
#define UNSLEPT_MOST 4    /* then the wait set has its turn: kept connections wait there */
#define VAIN         4    /* after a look for nothing so many connections pass without one */

static void run_submission(struct worker *w, struct submission *s)
{
    struct request *r = s->request;
    void (*done)(struct request *) = s->done;

    atomic_store_explicit(&w->queued, r, memory_order_release);
    r->times.queued = s->queued_us;
    /* A client that left while its request waited costs no script: opening and resetting streams is cheap. */
    if (!atomic_load_explicit(&r->gone, memory_order_relaxed)) {
        request_run(w, r);
    }
    atomic_store_explicit(&w->queued, NULL, memory_order_relaxed);
    done(r);
}

/* The worker has said that it is not idle any more and now asks whether anybody looks; the control thread
 * stops looking and then asks who is idle. One of both must see the other, hence the fence here and in
 * sizing_demand. sleeping: so many of its kind. */
static void tell_sizing(struct pool *pool, uint32_t sleeping)
{
    if (!pool->ondemand) {
        return;
    }
    atomic_thread_fence(memory_order_seq_cst);
    if (sleeping == 0 && !atomic_load(&pool->watching) &&
        atomic_load(&pool->running) < (uint32_t)pool->conf->s.max_children) {
        pool_wake_control(pool);
    }
}

/* Takes one of the orders to park, if there is one. */
static bool take_park_order(struct pool *pool)
{
    uint32_t wanted = atomic_load(&pool->park_wanted);

    while (wanted > 0) {
        if (atomic_compare_exchange_weak(&pool->park_wanted, &wanted, wanted - 1)) {
            return true;
        }
    }
    return false;
}

static void park(struct worker *w)
{
    struct pool *pool = w->pool;

    w->again = NULL; /* who is called back is idle, and tells sizing when it is not any more */
    if (pool->executor->idle) {
        pool->executor->idle(w);
    }
    pthread_mutex_lock(&w->lock);
    atomic_fetch_sub(&pool->running, 1);
    worker_set_state(w, WORKER_PARKED);
    atomic_store(&w->parked, true);
    tell_sizing(pool, lane_sleeping(w->lane)); /* what came while this one still looked idle */
    while (atomic_load(&w->parked) && !atomic_load(&pool->ending)) {
        pthread_cond_wait(&w->unpark, &w->lock);
    }
    if (atomic_load(&w->parked)) { /* the end came first: nobody has counted us back in */
        atomic_store(&w->parked, false);
        atomic_fetch_add(&pool->running, 1);
    }
    pthread_mutex_unlock(&w->lock);
    worker_reset(w);
}

/* For this worker and others like it. */
static bool has_queued(const struct worker *w)
{
    return lane_has_queued(w->lane);
}

/* Something that this worker should look at before it sleeps. */
static bool is_wanted(const struct worker *w)
{
    const struct pool *pool = w->pool;

    return atomic_load(&pool->ending) || has_queued(w) ||
           (worker_is_classic(w) && atomic_load(&pool->park_wanted) > 0);
}

/* Sleeps until something is ready, at most timeout_ms. */
static enum wait_outcome sleep_once(struct worker *w, int timeout_ms, struct waitable **out)
{
    struct pool *pool = w->pool;
    enum wait_outcome outcome = WAIT_NOTHING;

    worker_set_state(w, WORKER_IDLE);
    waitset_enter(w->lane->waitset);
    atomic_store_explicit(&w->waits, true, memory_order_relaxed);
    if (!is_wanted(w)) {
        outcome = waitset_wait(w->lane->waitset, timeout_ms, out);
    }
    atomic_store_explicit(&w->waits, false, memory_order_relaxed);
    uint32_t sleeping = waitset_leave(w->lane->waitset);

    if (outcome == WAIT_READY || has_queued(w)) {
        worker_set_state(w, WORKER_LOOKING); /* others may be quicker */
        if (worker_is_classic(w)) {
            tell_sizing(pool, sleeping);
        }
    }
    return outcome;
}

/* Whoever was woken wakes the next one if there is still something to do. */
static void pass_on(const struct worker *w)
{
    if (is_wanted(w)) {
        lane_wake(w->lane);
    }
}

/* Busy first, then out of the queue: pool_idle must never find the request in neither place. */
static struct submission *take_submission(struct worker *w)
{
    if (queue_empty(&w->lane->queue)) {
        return NULL;
    }
    worker_set_state(w, WORKER_READING);
    return queue_pop(&w->lane->queue);
}

static struct waitable *take_passed(struct worker *w)
{
    if (passed_empty(&w->lane->passed)) {
        return NULL;
    }
    worker_set_state(w, WORKER_READING);
    return passed_take(&w->lane->passed);
}

/* What has waited. Neither of both kinds may keep the other waiting for ever. */
static bool run_queued(struct worker *w)
{
    struct waitable *passed = w->requests % 2 == 0 ? take_passed(w) : NULL;
    struct submission *s = passed ? NULL : take_submission(w);

    passed = passed || s ? passed : take_passed(w);
    if (!passed && !s) {
        return false;
    }
    pass_on(w);
    if (s) {
        run_submission(w, s);
    } else {
        passed->ready(passed, w);
    }
    worker_reset(w);
    return true;
}

void worker_took(struct worker *w, struct waitable *listener, bool one)
{
    if (!one) {
        w->vain = w->unslept > 0 ? VAIN : w->vain;
    } else if (w->vain > 0) {
        w->vain--;
    } else {
        w->again = listener;
    }
}

/* A busy server's next connection waits already: it is found without epoll_wait(). */
static struct waitable *take_again(struct worker *w)
{
    struct waitable *listener = w->unslept < UNSLEPT_MOST ? w->again : NULL;

    w->again = NULL;
    w->unslept = listener ? w->unslept + 1 : 0;
    if (listener) {
        worker_set_state(w, WORKER_LOOKING);
    }
    return listener;
}

void worker_look(struct worker *w, bool *rested, int timeout_ms)
{
    struct pool *pool = w->pool;
    struct waitable *ready = NULL;

    if (run_queued(w)) {
        *rested = false;
        return;
    }
    if (worker_is_classic(w) && take_park_order(pool)) {
        pass_on(w);
        park(w);
        return;
    }
    bool may_rest = !*rested && (timeout_ms < 0 || timeout_ms > IDLE_MS);
    enum wait_outcome outcome = WAIT_READY;

    ready = take_again(w);
    if (!ready) {
        outcome = sleep_once(w, may_rest ? IDLE_MS : timeout_ms, &ready);
    }
    if (outcome == WAIT_READY) {
        ready->ready(ready, w);
        worker_reset(w);
        *rested = false;
    } else if (outcome == WAIT_TIMEOUT && may_rest) {
        if (pool->executor->idle) {
            pool->executor->idle(w);
        }
        *rested = true;
    }
}

void worker_wait_queued(struct worker *w)
{
    while (!atomic_load(&w->pool->ending) && !has_queued(w)) {
        struct waitable *ready = NULL;

        if (sleep_once(w, -1, &ready) == WAIT_READY) {
            ready->ready(ready, w);
            worker_reset(w);
        }
    }
}

bool worker_loop(struct worker *w)
{
    bool rested = true; /* nothing to give back before the first request */

    worker_stands(w);
    while (!atomic_load(&w->pool->ending) && !atomic_load(&w->lost)) {
        worker_look(w, &rested, -1);
    }
    lane_wake(w->lane); /* the next one that sleeps must hear of the end, too */
    return true;
}
