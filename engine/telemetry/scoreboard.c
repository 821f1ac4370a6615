/* The scoreboard: one shared mapping per pool, made by the supervisor and inherited by every engine process.
 *
 * Any thread of any of these processes. A slot is claimed by compare-and-swap of its process id and then
 * written by one worker only. No lock is ever held in shared memory: a process may die at any instruction. A
 * worker that died while it changed its texts leaves an odd sequence; readers give up on the texts after a
 * few tries and report the numbers alone. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/engine_settings.h"
#include "engine/telemetry/metrics.h"
#include "engine/telemetry/scoreboard.h"

/* Beside two overlapping generations: replacements of lost workers. */
#define SPARE_SLOTS 32
#define READ_TRIES  100

typedef uint64_t __attribute__((may_alias)) word;

static const char *const state_names[] = {
    [WORKER_FREE] = "Free",
    [WORKER_CREATING] = "Creating",
    [WORKER_IDLE] = "Idle",
    [WORKER_READING] = "Reading headers",
    [WORKER_INFO] = "Getting request information",
    [WORKER_RUNNING] = "Running",
    [WORKER_ENDING] = "Ending",
    [WORKER_FINISHING] = "Finishing",
    [WORKER_PARKED] = "Parked",
    [WORKER_LOST] = "Lost",
    [WORKER_LOOKING] = "Idle",
};

const char *worker_state_name(enum worker_state state)
{
    return (size_t)state < sizeof(state_names) / sizeof(*state_names) ? state_names[state] : "Unknown";
}

static size_t board_bytes(uint32_t slots)
{
    return sizeof(struct scoreboard) + (size_t)slots * sizeof(struct scoreboard_slot);
}

struct scoreboard *scoreboard_create(const struct pool_conf *pool, int metrics)
{
    uint32_t children = (uint32_t)pool->s.max_children;
    uint32_t processes = pool->s.processes > 0 ? (uint32_t)pool->s.processes : 1;
    uint32_t slots = children * processes * 2 + SPARE_SLOTS;
    struct scoreboard *board = mmap(NULL, board_bytes(slots), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (board == MAP_FAILED) {
        return NULL;
    }
    uint32_t blocks = slots + processes * 2 * METRICS_CLAIMS;

    board->metrics = metrics < 0 ? metrics_create(blocks) : metrics_inherit(metrics, blocks);
    if (!board->metrics) {
        int saved = errno;

        munmap(board, board_bytes(slots));
        errno = saved;
        return NULL;
    }
    size_t n = strnlen(pool->name, sizeof(board->pool) - 1);

    memcpy(board->pool, pool->name, n);
    board->pm = pool->s.pm;
    board->start_wall_us = clock_wall_us();
    board->slot_count = slots;
    board->max_children = children;
    return board;
}

void scoreboard_destroy(struct scoreboard *board)
{
    metrics_destroy(board->metrics);
    munmap(board, board_bytes(board->slot_count));
}

/* -- the worker's side -- */

static void note_used(struct scoreboard *board, uint32_t used)
{
    uint32_t seen = atomic_load(&board->slots_used);

    while (seen < used && !atomic_compare_exchange_weak(&board->slots_used, &seen, used)) {
    }
}

static void clear_numbers(struct scoreboard_slot *slot)
{
    atomic_store(&slot->state, WORKER_FREE);
    atomic_store(&slot->tid, 0);
    atomic_store(&slot->start_wall_us, 0);
    atomic_store(&slot->requests, 0);
    atomic_store(&slot->accepted_us, 0);
    atomic_store(&slot->duration_us, 0);
    atomic_store(&slot->memory_peak, 0);
    atomic_store(&slot->last_cpu_us, 0);
    atomic_store(&slot->content_length, 0);
}

int scoreboard_claim(struct scoreboard *board, pid_t process, uint32_t generation)
{
    for (uint32_t i = 0; i < board->slot_count; i++) {
        struct scoreboard_slot *slot = &board->slots[i];
        pid_t nobody = 0;

        if (i < atomic_load(&board->slots_used) && atomic_load(&slot->process) != 0) {
            continue;
        }
        if (!atomic_compare_exchange_strong(&slot->process, &nobody, process)) {
            continue;
        }
        clear_numbers(slot);
        atomic_store(&slot->sequence, 0);
        scoreboard_describe(slot, &(struct scoreboard_texts){0});
        atomic_store(&slot->generation, generation);
        atomic_store(&slot->start_wall_us, clock_wall_us());
        atomic_store(&slot->state, WORKER_CREATING);
        note_used(board, i + 1);
        return (int)i;
    }
    errno = ENOSPC;
    return -1;
}

void scoreboard_release(struct scoreboard *board, int slot)
{
    MUST(slot >= 0 && (uint32_t)slot < board->slot_count);
    clear_numbers(&board->slots[slot]);
    atomic_store(&board->slots[slot].process, 0);
}

/* Copies text and fills up the word that holds its end; what is behind is old and never read. */
static void store_text(char *field, size_t size, const char *text)
{
    size_t n = text ? strnlen(text, size - 1) : 0;
    word *out = (word *)(void *)field;

    for (size_t done = 0; done <= n; done += sizeof(word)) {
        word piece = 0;
        size_t rest = n - done;

        if (rest) {
            memcpy(&piece, text + done, rest < sizeof(piece) ? rest : sizeof(piece));
        }
        __atomic_store_n(out++, piece, __ATOMIC_RELAXED);
    }
}

void scoreboard_describe(struct scoreboard_slot *slot, const struct scoreboard_texts *texts)
{
    uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);

    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    store_text(slot->method, sizeof(slot->method), texts->method);
    store_text(slot->uri, sizeof(slot->uri), texts->uri);
    store_text(slot->query, sizeof(slot->query), texts->query);
    store_text(slot->script, sizeof(slot->script), texts->script);
    store_text(slot->user, sizeof(slot->user), texts->user);
    atomic_store_explicit(&slot->sequence, sequence + 2, memory_order_release);
}

/* -- the reader's side -- */

void scoreboard_reap(struct scoreboard *board, pid_t process)
{
    uint32_t used = atomic_load(&board->slots_used);

    metrics_reap(board->metrics, process);
    for (uint32_t i = 0; i < used; i++) {
        if (atomic_load(&board->slots[i].process) == process) {
            scoreboard_release(board, (int)i);
        }
    }
}

enum worker_state scoreboard_state(const struct scoreboard *board, uint32_t slot)
{
    int state = atomic_load(&board->slots[slot].state);

    return state == WORKER_LOOKING ? WORKER_IDLE : (enum worker_state)state;
}

static void load_text(char *out, const char *field, size_t size)
{
    const word *in = (const word *)(const void *)field;

    for (size_t done = 0; done < size; done += sizeof(word)) {
        word piece = __atomic_load_n(in++, __ATOMIC_RELAXED);

        memcpy(out + done, &piece, sizeof(piece));
    }
    out[size - 1] = '\0';
}

static bool load_texts(const struct scoreboard_slot *slot, struct scoreboard_slot *out)
{
    uint32_t before = atomic_load_explicit(&slot->sequence, memory_order_acquire);

    if (before % 2) {
        return false;
    }
    load_text(out->method, slot->method, sizeof(slot->method));
    load_text(out->uri, slot->uri, sizeof(slot->uri));
    load_text(out->query, slot->query, sizeof(slot->query));
    load_text(out->script, slot->script, sizeof(slot->script));
    load_text(out->user, slot->user, sizeof(slot->user));
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == before;
}

bool scoreboard_read(const struct scoreboard *board, uint32_t index, struct scoreboard_slot *out)
{
    if (index >= atomic_load(&board->slots_used)) {
        return false;
    }
    const struct scoreboard_slot *slot = &board->slots[index];

    memset(out, 0, sizeof(*out));
    out->process = atomic_load(&slot->process);
    out->state = scoreboard_state(board, index);
    if (out->process == 0 || out->state == WORKER_FREE) {
        return false;
    }
    out->tid = atomic_load(&slot->tid);
    out->generation = atomic_load(&slot->generation);
    out->start_wall_us = atomic_load(&slot->start_wall_us);
    out->requests = atomic_load(&slot->requests);
    out->accepted_us = atomic_load(&slot->accepted_us);
    out->duration_us = atomic_load(&slot->duration_us);
    out->memory_peak = atomic_load(&slot->memory_peak);
    out->last_cpu_us = atomic_load(&slot->last_cpu_us);
    out->content_length = atomic_load(&slot->content_length);
    for (int i = 0; i < READ_TRIES; i++) {
        if (load_texts(slot, out)) {
            return true;
        }
    }
    out->method[0] = out->uri[0] = out->query[0] = out->script[0] = out->user[0] = '\0';
    return true;
}

void scoreboard_count(const struct scoreboard *board, uint32_t *idle, uint32_t *active, uint32_t *total)
{
    uint32_t used = atomic_load(&board->slots_used);

    *idle = *active = 0;
    for (uint32_t i = 0; i < used; i++) {
        switch (scoreboard_state(board, i)) {
        case WORKER_IDLE:
        case WORKER_LOOKING: (*idle)++; break;
        case WORKER_CREATING:
        case WORKER_READING:
        case WORKER_INFO:
        case WORKER_RUNNING:
        case WORKER_ENDING:
        case WORKER_FINISHING: (*active)++; break;
        case WORKER_FREE:
        case WORKER_PARKED:
        case WORKER_LOST: break;
        }
    }
    *total = *idle + *active;
}

uint32_t scoreboard_workers(const struct scoreboard *board, pid_t process)
{
    uint32_t used = atomic_load(&board->slots_used), workers = 0;

    for (uint32_t i = 0; i < used; i++) {
        int state = atomic_load(&board->slots[i].state);

        workers += state != WORKER_FREE && state != WORKER_PARKED && state != WORKER_LOST &&
                   (process == 0 || atomic_load(&board->slots[i].process) == process);
    }
    return workers;
}

uint32_t scoreboard_busy(const struct scoreboard *board)
{
    uint32_t used = atomic_load(&board->slots_used), busy = 0;

    for (uint32_t i = 0; i < used; i++) {
        int state = atomic_load_explicit(&board->slots[i].state, memory_order_relaxed);

        busy += state >= WORKER_INFO && state <= WORKER_FINISHING;
    }
    return busy;
}
