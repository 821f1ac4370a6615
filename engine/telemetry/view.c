/* Views of boards: read with pread(2), so that whatever the board's owner does to it meanwhile, what is
 * looked at is a copy that stands still. Its reader's thread. */
#include "engine/telemetry/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "engine/base/write_now.h"
#include "engine/engine_settings.h"

#define READ_TRIES    8
#define LAYOUT_NUMBER 3 /* to be raised when a number changes its meaning, but not its place */

struct view *view_create(uint32_t pools)
{
    struct view *view = calloc(1, sizeof(*view));

    if (view) {
        view->pool_room = pools;
        view->pools = calloc(pools ? pools : 1, sizeof(*view->pools));
    }
    if (view && !view->pools) {
        free(view);
        return NULL;
    }
    return view;
}

void view_free(struct view *view)
{
    if (view) {
        free(view->pools);
        free(view->workers);
        free(view);
    }
}

void pool_view_init(struct pool_view *pool, const struct pool_conf *conf)
{
    memset(pool, 0, sizeof(*pool));
    snprintf(pool->name, sizeof(pool->name), "%s", conf->name);
    pool->pm = conf->s.pm;
    pool->max_children = (uint32_t)conf->s.max_children;
    pool->has_tasks = conf->tasks_of != NULL;
    pool->has_script = conf->s.worker_script != NULL;
    pool->start_wall_us = pool->counting_since_wall_us = clock_wall_us();
}

struct pool_view *view_add_pool(struct view *view, const struct pool_view *pool)
{
    MUST(view->pool_count < view->pool_room);
    struct pool_view *added = &view->pools[view->pool_count++];

    *added = *pool;
    added->first_worker = view->worker_count;
    return added;
}

const struct pool_view *view_find(const struct view *view, const char *name)
{
    for (uint32_t i = 0; i < view->pool_count; i++) {
        if (strncmp(view->pools[i].name, name, sizeof(view->pools[i].name) - 1) == 0) {
            return &view->pools[i];
        }
    }
    return NULL;
}

/* -- a board's workers -- */

const char *script_state_name(enum script_phase state)
{
    static const char *const names[SCRIPT_STATES] = {"none", "booting", "idle", "busy", "down"};

    return names[state];
}

static enum script_phase script_state(uint32_t kib, enum worker_state state)
{
    if (kib == 0 || state == WORKER_LOST) {
        return SCRIPT_STATE_NONE;
    }
    if (kib == SCRIPT_DOWN) {
        return SCRIPT_STATE_DOWN;
    }
    return state == WORKER_CREATING ? SCRIPT_STATE_BOOTING
           : state == WORKER_IDLE   ? SCRIPT_STATE_IDLE
                                    : SCRIPT_STATE_BUSY;
}

static bool read_at(const struct board_source *from, void *out, size_t n, size_t at)
{
    return pread(from->fd, out, n, (off_t)at) == (ssize_t)n;
}

static uint32_t at_most(uint32_t n, uint32_t most)
{
    return n < most ? n : most;
}

static void copy_text(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    out[size - 1] = '\0';
}

static void copy_slot(const struct scoreboard_slot *slot, bool texts, struct worker_row *row)
{
    uint64_t now = clock_wall_us(), started = atomic_load(&slot->start_wall_us);
    uint32_t kib = atomic_load(&slot->script_kib);

    row->tid = atomic_load(&slot->tid);
    row->script_state = script_state(kib, row->state);
    row->script_memory = kib > SCRIPT_BOOTS && kib != SCRIPT_DOWN ? (uint64_t)kib * 1024 : 0;
    row->start_wall_us = started < now ? started : now;
    row->requests = atomic_load(&slot->requests);
    row->accepted_us = atomic_load(&slot->accepted_us);
    row->duration_us = atomic_load(&slot->duration_us);
    row->memory_peak = atomic_load(&slot->memory_peak);
    row->last_cpu_us = atomic_load(&slot->last_cpu_us);
    row->content_length = atomic_load(&slot->content_length);
    if (texts) {
        copy_text(row->method, slot->method, sizeof(row->method));
        copy_text(row->uri, slot->uri, sizeof(row->uri));
        copy_text(row->query, slot->query, sizeof(row->query));
        copy_text(row->script, slot->script, sizeof(row->script));
        copy_text(row->user, slot->user, sizeof(row->user));
    }
}

/* The texts are whole if the sequence was even and has not changed after they were copied. */
bool board_worker(const struct board_source *from, uint32_t index, struct worker_row *row)
{
    struct scoreboard_slot slot;
    size_t at = scoreboard_slot_at(index);
    bool whole = false;

    for (int i = 0; i < READ_TRIES && !whole; i++) {
        uint32_t after = 1;

        if (index >= from->size.slots || !read_at(from, &slot, sizeof(slot), at) ||
            !read_at(from, &after, sizeof(after), at)) {
            return false;
        }
        whole = after % 2 == 0 && after == atomic_load(&slot.sequence);
    }
    int state = atomic_load(&slot.state);

    if (state <= WORKER_FREE || state >= WORKER_STATES) {
        return false;
    }
    *row = (struct worker_row){
        .process = from->process,
        .generation = from->generation,
        .draining = from->draining,
        .state = state == WORKER_LOOKING ? WORKER_IDLE : (enum worker_state)state,
    };
    copy_slot(&slot, whole, row);
    return true;
}

static bool works(enum worker_state state)
{
    return state == WORKER_CREATING || (state >= WORKER_READING && state <= WORKER_FINISHING);
}

bool worker_row_visible(const struct worker_row *row)
{
    return works(row->state) || (row->state == WORKER_IDLE && !row->draining);
}

/* A worker that only waits in a process that leaves is not there for anybody any more. */
static void count_row(struct pool_view *pool, const struct worker_row *row)
{
    if (row->draining && (row->state == WORKER_IDLE || row->state == WORKER_PARKED)) {
        return;
    }
    pool->states[row->state]++;
    pool->script_states[row->script_state] += !row->draining;
    pool->idle += row->state == WORKER_IDLE;
    pool->active += works(row->state);
}

static struct worker_row *new_row(struct view *view)
{
    if (view->worker_count == view->worker_room) {
        uint32_t room = view->worker_room ? view->worker_room * 2 : 64;
        struct worker_row *grown = realloc(view->workers, room * sizeof(*grown));

        if (!grown) {
            return NULL;
        }
        view->workers = grown;
        view->worker_room = room;
    }
    return &view->workers[view->worker_count];
}

static void add_workers(struct view *view, struct pool_view *pool, const struct board_source *from,
                        uint32_t used)
{
    for (uint32_t i = 0; i < used; i++) {
        struct worker_row *row = new_row(view);

        if (row && board_worker(from, i, row)) {
            count_row(pool, row);
            view->worker_count++;
            pool->worker_count++;
        }
    }
}

/* -- a board's numbers -- */

static void add_metrics(struct pool_view *pool, const struct board_source *from,
                        const struct scoreboard_numbers *numbers)
{
    uint32_t used = at_most(atomic_load(&numbers->blocks_used), from->size.blocks);
    struct metrics_block *block = aligned_alloc(_Alignof(struct metrics_block), sizeof(*block));

    for (uint32_t i = 0; block && i < used; i++) {
        if (read_at(from, block, sizeof(*block), scoreboard_block_at(from->size, i))) {
            metrics_merge(&pool->sum, block);
        }
    }
    free(block);
    for (int t = 0; t < METRICS_TOTALS; t++) {
        pool->sum.totals[t] += atomic_load(&numbers->totals[t]);
    }
}

void pool_view_add_guest(struct pool_view *pool, const struct board_source *from, uint32_t guest)
{
    struct metrics_block *block = aligned_alloc(_Alignof(struct metrics_block), sizeof(*block));

    if (block && from->fd >= 0 && guest < from->size.guests &&
        read_at(from, block, sizeof(*block), scoreboard_guest_at(from->size, guest))) {
        atomic_store(&block->connections, 0);
        atomic_store(&block->pending, 0);
        metrics_merge(&pool->sum, block);
    }
    free(block);
}

static void raise32(uint32_t *most, uint32_t n)
{
    *most = n > *most ? n : *most;
}

static void add_counters(struct pool_view *pool, const struct board_source *from,
                         const struct scoreboard_numbers *numbers)
{
    uint64_t peak = atomic_load(&numbers->memory_peak);

    pool->accepted += atomic_load(&numbers->accepted);
    pool->slow_requests += atomic_load(&numbers->slow_requests);
    pool->memory_peak = peak > pool->memory_peak ? peak : pool->memory_peak;
    pool->max_children_reached += atomic_load(&numbers->max_children_reached);
    raise32(&pool->active_max, at_most(atomic_load(&numbers->active_max), from->size.slots));
    raise32(&pool->listen_queue_max, atomic_load(&numbers->listen_queue_max));
}

static bool read_numbers(const struct board_source *from, struct scoreboard_numbers *numbers)
{
    return from->fd >= 0 && read_at(from, numbers, sizeof(*numbers), 0);
}

void view_add_board(struct view *view, const struct board_source *from)
{
    struct pool_view *pool = &view->pools[view->pool_count - 1];
    struct scoreboard_numbers numbers;

    if (!read_numbers(from, &numbers)) {
        pool->unseen_serve |= !from->draining;
        return;
    }
    if (!from->inherited) {
        add_counters(pool, from, &numbers);
    }
    if (!from->draining) {
        raise32(&pool->listen_queue, atomic_load(&numbers.listen_queue));
        raise32(&pool->listen_queue_len, atomic_load(&numbers.listen_queue_len));
        raise32(&pool->opcache_used_percent, at_most(atomic_load(&numbers.opcache_used_percent), 100));
    }
    pool->script_queue += at_most(atomic_load(&numbers.script_queue), INT32_MAX);
    add_metrics(pool, from, &numbers);
    add_workers(view, pool, from, at_most(atomic_load(&numbers.slots_used), from->size.slots));
}

void pool_view_keep(struct pool_view *pool, const struct board_source *from)
{
    struct scoreboard_numbers numbers;

    if (!read_numbers(from, &numbers)) {
        return;
    }
    if (!from->inherited) {
        add_counters(pool, from, &numbers);
    }
    add_metrics(pool, from, &numbers);
    pool->sum.connections = pool->sum.pending = 0;
}

uint32_t board_workers(const struct board_source *from)
{
    struct scoreboard_numbers numbers;
    struct worker_row row;
    uint32_t workers = 0;

    if (!read_numbers(from, &numbers)) {
        return 0;
    }
    for (uint32_t i = 0; i < at_most(atomic_load(&numbers.slots_used), from->size.slots); i++) {
        workers += board_worker(from, i, &row) && row.state != WORKER_PARKED && row.state != WORKER_LOST;
    }
    return workers;
}

/* -- what it comes to -- */

enum pool_health pool_view_health(const struct pool_view *pool)
{
    uint32_t working = pool->active - pool->states[WORKER_CREATING];

    if (pool->silent) {
        return POOL_DOWN;
    }
    if (pool->states[WORKER_IDLE] + pool->states[WORKER_PARKED] > 0 || pool->has_tasks ||
        (pool->pm == PM_ONDEMAND && working == 0) || pool->unseen_serve) {
        return POOL_OK;
    }
    return working > 0 ? POOL_BUSY : pool->states[WORKER_CREATING] > 0 ? POOL_STARTING : POOL_DOWN;
}

const char *pool_health_name(enum pool_health health)
{
    static const char *const names[] = {"ok", "busy", "starting", "down"};

    return names[health];
}

uint64_t view_since_wall_us(const struct view *view)
{
    uint64_t first = clock_wall_us();

    for (uint32_t i = 0; i < view->pool_count; i++) {
        uint64_t since = view->pools[i].counting_since_wall_us;

        first = since < first ? since : first;
    }
    return first;
}

/* -- from process to process -- */

struct file_head {
    char layout[VIEW_LAYOUT_MAX];
    uint32_t pools, workers;
    bool finishing;
};

const char *view_layout(void)
{
    static _Thread_local char text[VIEW_LAYOUT_MAX];

    snprintf(text, sizeof(text), "tokiophp-%d-%zu-%zu-%zu-%zu-%zu-%zu", LAYOUT_NUMBER,
             sizeof(struct pool_view), sizeof(struct worker_row), sizeof(struct scoreboard_numbers),
             sizeof(struct scoreboard_slot), sizeof(struct metrics_block),
             sizeof(struct script_row) * SCRIPT_ROWS);
    return text;
}

static bool write_all(int fd, const void *from, size_t n)
{
    return write_waiting(fd, from, n) == n;
}

int view_save(const struct view *view)
{
    struct file_head head = {
        .pools = view->pool_count, .workers = view->worker_count, .finishing = view->finishing};
    int fd = memfd_create("view", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    memcpy(head.layout, view_layout(), strlen(view_layout()));
    if (fd < 0) {
        return -1;
    }
    if (!write_all(fd, &head, sizeof(head)) ||
        !write_all(fd, view->pools, view->pool_count * sizeof(*view->pools)) ||
        !write_all(fd, view->workers, view->worker_count * sizeof(*view->workers)) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static bool head_is_ours(const struct file_head *head, off_t size)
{
    const char *layout = view_layout();

    return strncmp(head->layout, layout, sizeof(head->layout)) == 0 &&
           (uint64_t)size == sizeof(*head) + (uint64_t)head->pools * sizeof(struct pool_view) +
                                 (uint64_t)head->workers * sizeof(struct worker_row);
}

struct view *view_load(int fd)
{
    struct file_head head;
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return NULL;
    }
    if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) || !head_is_ours(&head, st.st_size)) {
        errno = EPROTO;
        return NULL;
    }
    struct view *view = view_create(head.pools);
    size_t pools = head.pools * sizeof(*view->pools), workers = head.workers * sizeof(*view->workers);

    if (view) {
        view->finishing = head.finishing;
        view->pool_count = head.pools;
        view->worker_count = view->worker_room = head.workers;
        view->workers = malloc(workers ? workers : 1);
    }
    if (!view || !view->workers || pread(fd, view->pools, pools, sizeof(head)) != (ssize_t)pools ||
        pread(fd, view->workers, workers, (off_t)(sizeof(head) + pools)) != (ssize_t)workers) {
        view_free(view);
        return NULL;
    }
    return view;
}
