/* The scoreboard: memory of one engine process that its supervisor can read.
 *
 * Any thread of the process. A slot is claimed by the control thread and then written by one worker only. No
 * lock is ever held in it: the process may die at any instruction. A worker that died while it changed its
 * texts leaves an odd sequence; readers give up on the texts after a few tries and report the numbers
 * alone. */
#include "engine/telemetry/scoreboard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/engine_settings.h"
#include "engine/telemetry/metrics.h"

/* Beside the workers: as many again for those that replace lost ones, and a few more for small pools. */
#define SPARE_SLOTS 32

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

const char *restart_reason_name(enum restart_reason reason)
{
    static const char *const names[RESTART_REASONS] = {
        [RESTART_MAX_REQUESTS] = "max_requests",
        [RESTART_MAX_MEMORY] = "max_memory",
        [RESTART_EXIT] = "exit",
        [RESTART_FATAL] = "fatal",
        [RESTART_ENDED] = "ended",
        [RESTART_CRASH] = "crash",
    };

    return names[reason];
}

/* -- size and file -- */

struct scoreboard_size scoreboard_size(const struct pool_conf *pool, uint32_t guests)
{
    int64_t residents = pool->s.worker_script ? pool->s.worker_num : 0;
    uint32_t slots = (uint32_t)(pool->s.max_children + residents) * 2 + SPARE_SLOTS;

    return (struct scoreboard_size){.slots = slots, .blocks = slots + METRICS_CLAIMS, .guests = guests};
}

size_t scoreboard_slot_at(uint32_t slot)
{
    return sizeof(struct scoreboard_numbers) + (size_t)slot * sizeof(struct scoreboard_slot);
}

size_t scoreboard_block_at(struct scoreboard_size size, uint32_t block)
{
    return scoreboard_slot_at(size.slots) + (size_t)block * sizeof(struct metrics_block);
}

size_t scoreboard_guest_at(struct scoreboard_size size, uint32_t guest)
{
    return scoreboard_block_at(size, size.blocks) + (size_t)guest * sizeof(struct metrics_block);
}

size_t scoreboard_script_at(struct scoreboard_size size, uint32_t row)
{
    return scoreboard_guest_at(size, size.guests) + (size_t)row * sizeof(struct script_row);
}

static size_t board_bytes(struct scoreboard_size size)
{
    return scoreboard_script_at(size, SCRIPT_ROWS);
}

int scoreboard_file(struct scoreboard_size size)
{
    int fd = memfd_create("board", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0) {
        return -1;
    }
    /* Whoever reads it must never meet an end that has moved. */
    if (ftruncate(fd, (off_t)board_bytes(size)) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

struct scoreboard *scoreboard_open(int fd, struct scoreboard_size size)
{
    struct scoreboard *board = malloc(sizeof(*board));
    char *shared =
        board ? mmap(NULL, board_bytes(size), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
              : MAP_FAILED;

    if (shared == MAP_FAILED) {
        free(board);
        return NULL;
    }
    *board = (struct scoreboard){
        .fd = fd,
        .size = size,
        .numbers = (struct scoreboard_numbers *)(void *)shared,
        .slots = (struct scoreboard_slot *)(void *)(shared + scoreboard_slot_at(0)),
        .blocks = (struct metrics_block *)(void *)(shared + scoreboard_block_at(size, 0)),
    };
    script_table_init(&board->scripts, (struct script_row *)(void *)(shared + scoreboard_script_at(size, 0)));
    return board;
}

struct scoreboard *scoreboard_create(const struct pool_conf *pool)
{
    struct scoreboard_size size = scoreboard_size(pool, 0);
    int fd = scoreboard_file(size);
    struct scoreboard *board = fd >= 0 ? scoreboard_open(fd, size) : NULL;

    if (!board && fd >= 0) {
        close(fd);
    }
    return board;
}

void scoreboard_destroy(struct scoreboard *board)
{
    munmap(board->numbers, board_bytes(board->size));
    close(board->fd);
    free(board);
}

/* -- the worker's side -- */

static void note_used(struct scoreboard *board, uint32_t used)
{
    if (atomic_load(&board->numbers->slots_used) < used) {
        atomic_store(&board->numbers->slots_used, used);
    }
}

static void clear_numbers(struct scoreboard_slot *slot)
{
    atomic_store(&slot->tid, 0);
    atomic_store(&slot->script_kib, 0);
    atomic_store(&slot->start_wall_us, 0);
    atomic_store(&slot->requests, 0);
    atomic_store(&slot->accepted_us, 0);
    atomic_store(&slot->duration_us, 0);
    atomic_store(&slot->memory_peak, 0);
    atomic_store(&slot->last_cpu_us, 0);
    atomic_store(&slot->content_length, 0);
}

int scoreboard_claim(struct scoreboard *board)
{
    for (uint32_t i = 0; i < board->size.slots; i++) {
        struct scoreboard_slot *slot = &board->slots[i];

        if (atomic_load(&slot->state) != WORKER_FREE) {
            continue;
        }
        clear_numbers(slot);
        atomic_store(&slot->sequence, 0);
        scoreboard_describe(slot, &(struct scoreboard_texts){0});
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
    MUST(slot >= 0 && (uint32_t)slot < board->size.slots);
    clear_numbers(&board->slots[slot]);
    atomic_store(&board->slots[slot].state, WORKER_FREE);
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

/* -- what the process counts for itself -- */

static uint32_t used_slots(const struct scoreboard *board)
{
    uint32_t used = atomic_load(&board->numbers->slots_used);

    return used < board->size.slots ? used : board->size.slots;
}

uint32_t scoreboard_workers(const struct scoreboard *board)
{
    uint32_t used = used_slots(board), workers = 0;

    for (uint32_t i = 0; i < used; i++) {
        int state = atomic_load(&board->slots[i].state);

        workers += state != WORKER_FREE && state != WORKER_PARKED && state != WORKER_LOST;
    }
    return workers;
}

uint32_t scoreboard_busy(const struct scoreboard *board)
{
    uint32_t used = used_slots(board), busy = 0;

    for (uint32_t i = 0; i < used; i++) {
        int state = atomic_load_explicit(&board->slots[i].state, memory_order_relaxed);

        busy += state >= WORKER_INFO && state <= WORKER_FINISHING;
    }
    return busy;
}
