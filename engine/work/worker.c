/* A worker as others see it: made, asked for its state, taken apart. Its thread is in worker_thread.c, what
 * the thread does in worker_loop.c, resident.c and task.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/proc_file.h"
#include "engine/telemetry/metrics.h"
#include "engine/work/pool_private.h"
#include "engine/work/worker_output.h"

#define ARENA_LIMIT (16u << 20)

_Thread_local struct worker *current_worker;
_Thread_local struct cgi_rules cgi_rules;

/* -- making and unmaking -- */

struct worker *worker_create(struct pool *pool, int id, const struct worker_plan *plan)
{
    struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) / 64 * 64);

    if (!w) {
        return NULL;
    }
    memset(w, 0, sizeof(*w));
    w->magic = WORKER_MAGIC;
    w->id = id;
    w->pool = pool;
    w->kind = plan->kind;
    w->work = plan->work;
    w->lane = plan->kind < KINDS_WITH_LANE ? &pool->lanes[plan->kind] : NULL;
    w->abandon_status = 500;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->unpark, NULL);
    w->arena = arena_create(ARENA_LIMIT);
    w->alternate_stack = mmap(NULL, WORKER_ALT_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w->slot_index = plan->kind == KIND_PAGE ? -1 : scoreboard_claim(pool->board);
    if (!w->arena || w->alternate_stack == MAP_FAILED) {
        worker_destroy(w);
        return NULL;
    }
    w->slot = w->slot_index < 0 ? &w->own_slot : &pool->board->slots[w->slot_index];
    w->counters = pool_counters(pool);
    w->resident = plan->resident;
    w->task = plan->task;
    return w;
}

void worker_destroy(struct worker *w)
{
    metrics_release(w->counters);
    if (w->slot_index >= 0) {
        scoreboard_release(w->pool->board, w->slot_index);
    }
    if (w->alternate_stack != MAP_FAILED) {
        munmap(w->alternate_stack, WORKER_ALT_BYTES);
    }
    if (w->arena) {
        arena_destroy(w->arena);
    }
    free(w->resident);
    free(w->task);
    pthread_cond_destroy(&w->unpark);
    pthread_mutex_destroy(&w->lock);
    w->magic = 0;
    free(w);
}

void worker_retire(struct worker *w)
{
    metrics_release(w->counters);
    w->counters = NULL;
    if (w->slot_index >= 0) {
        atomic_store(&w->own_slot.state, WORKER_LOST);
        w->slot = &w->own_slot;
        scoreboard_release(w->pool->board, w->slot_index);
        w->slot_index = -1;
    }
}

/* -- its state -- */

void worker_holds(struct waitable *waitable)
{
    if (current_worker) {
        atomic_store_explicit(&current_worker->held, waitable, memory_order_release);
    }
}

void worker_set_state(struct worker *w, enum worker_state state)
{
    int was = atomic_load_explicit(&w->slot->state, memory_order_relaxed);

    while (was != WORKER_LOST &&
           !atomic_compare_exchange_weak_explicit(&w->slot->state, &was, state, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}

enum worker_state worker_get_state(const struct worker *w)
{
    return (enum worker_state)atomic_load_explicit(&w->slot->state, memory_order_acquire);
}

/* Field 3 of its stat line, after the last ')'. */
bool worker_is_blocked(const struct worker *w)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)w->tid);
    proc_file_read(path, text, sizeof(text));
    const char *end = strrchr(text, ')');

    return end && end[1] == ' ' && (end[2] == 'S' || end[2] == 'D');
}

void pool_count_reading(struct worker *worker)
{
    atomic_store_explicit(&worker->slot->accepted_us, clock_us(), memory_order_relaxed);
    worker_set_state(worker, WORKER_READING);
}

void worker_sleep_for_ever(struct worker *w)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    worker_output_close();
    atomic_store(&w->asleep, true);
    pool_wake_control(w->pool);
    for (;;) {
        pause();
    }
}

/* -- deadlines that the request asks for -- */

void worker_set_php_time(struct worker *w, int64_t seconds)
{
    uint64_t at = seconds > 0 ? clock_us() + (uint64_t)seconds * CLOCK_US_PER_SECOND : 0;

    pthread_mutex_lock(&w->lock);
    w->php_time_at_us = at;
    pthread_mutex_unlock(&w->lock);
}

bool worker_heartbeat(struct worker *w, int64_t seconds)
{
    if (seconds <= 0 || seconds > w->pool->conf->s.request_terminate_timeout) {
        return false;
    }
    uint64_t at = clock_us() + (uint64_t)seconds * CLOCK_US_PER_SECOND;

    pthread_mutex_lock(&w->lock);
    bool moved = w->terminate_at_us != 0 && w->interrupt_stage == 0;

    if (moved) {
        w->terminate_at_us = at;
    }
    pthread_mutex_unlock(&w->lock);
    return moved;
}
