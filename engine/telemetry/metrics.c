/* Counters in shared memory: who has which block, adding, merging. The page that shows them is
 * metrics_page.c.
 *
 * The memory is a file without a name, so that the supervisor's next image can map it again. An earlier image
 * and its processes may reach fewer blocks than a later one: each process knows its own number of them. */
#include "engine/telemetry/metrics.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"

#define LAYOUT_NUMBER 1 /* to be raised when a number changes its meaning, but not its place */

static size_t shared_bytes(uint32_t count)
{
    return sizeof(struct metrics_shared) + count * sizeof(struct metrics_block);
}

static void describe_layout(char out[METRICS_LAYOUT_MAX])
{
    memset(out, 0, METRICS_LAYOUT_MAX);
    snprintf(out, METRICS_LAYOUT_MAX, "tokiophp %d: %zu+%zu %d %d %d %d %d", LAYOUT_NUMBER,
             sizeof(struct metrics_shared), sizeof(struct metrics_block), METRICS_TOTALS, POOL_EVENTS,
             METHOD_COUNT, HISTOGRAM_COUNT, HISTOGRAM_BUCKETS);
}

/* fd -1: memory that only children share. */
static struct metrics *map(int fd, uint32_t count)
{
    struct metrics *m = malloc(sizeof(*m));
    int flags = MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
    void *shared = m ? mmap(NULL, shared_bytes(count), PROT_READ | PROT_WRITE, flags, fd, 0) : MAP_FAILED;

    if (shared == MAP_FAILED) {
        free(m);
        return NULL;
    }
    *m = (struct metrics){.shared = shared, .count = count, .fd = fd};
    return m;
}

struct metrics *metrics_create(uint32_t count)
{
    int fd = memfd_create("metrics", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)shared_bytes(count)) != 0) {
        close(fd);
        fd = -1;
    }
    struct metrics *m = map(fd, count);
    if (m) {
        describe_layout(m->shared->layout);
        m->shared->start_wall_us = clock_wall_us();
    } else if (fd >= 0) {
        close(fd);
    }
    return m;
}

void metrics_destroy(struct metrics *m)
{
    if (m) {
        munmap(m->shared, shared_bytes(m->count));
        if (m->fd >= 0) {
            close(m->fd);
        }
        free(m);
    }
}

/* -- who has which block -- */

static uint32_t used_blocks(const struct metrics *m)
{
    uint32_t used = atomic_load(&m->shared->used);

    return used < m->count ? used : m->count;
}

static void note_used(struct metrics *m, uint32_t count)
{
    uint32_t seen = atomic_load(&m->shared->used);

    while (seen < count && !atomic_compare_exchange_weak(&m->shared->used, &seen, count)) {
    }
}

static void clear_gauges(struct metrics_block *block)
{
    atomic_store(&block->connections, 0);
    atomic_store(&block->pending, 0);
}

static bool is_dead(pid_t process)
{
    return kill(process, 0) != 0 && errno == ESRCH;
}

static struct metrics_block *try_claim(struct metrics *m, uint32_t i, pid_t owner, pid_t process)
{
    struct metrics_block *block = &m->shared->blocks[i];

    if (!atomic_compare_exchange_strong(&block->owner, &owner, process)) {
        return NULL;
    }
    clear_gauges(block);
    note_used(m, i + 1);
    return block;
}

struct metrics_block *metrics_claim(struct metrics *m, pid_t process)
{
    struct metrics_block *block = NULL;

    for (uint32_t i = 0; i < m->count && !block; i++) {
        block = try_claim(m, i, 0, process);
    }
    for (uint32_t i = 0; i < m->count && !block; i++) {
        pid_t owner = atomic_load(&m->shared->blocks[i].owner);

        if (owner != process && is_dead(owner)) {
            block = try_claim(m, i, owner, process);
        }
    }
    return block;
}

void metrics_release(struct metrics_block *block)
{
    if (block) {
        atomic_store(&block->owner, 0);
    }
}

void metrics_reap(struct metrics *m, pid_t process)
{
    for (uint32_t i = 0; i < used_blocks(m); i++) {
        struct metrics_block *block = &m->shared->blocks[i];

        if (atomic_load(&block->owner) == process) {
            clear_gauges(block);
            atomic_store(&block->owner, 0);
        }
    }
}

/* -- from image to image -- */

/* Blocks of processes that still run; those of others become free. */
static uint32_t living_blocks(struct metrics *m)
{
    uint32_t living = 0;

    for (uint32_t i = 0; i < used_blocks(m); i++) {
        pid_t owner = atomic_load(&m->shared->blocks[i].owner);

        if (owner != 0 && is_dead(owner)) {
            metrics_reap(m, owner);
        } else if (owner != 0) {
            living++;
        }
    }
    return living;
}

static bool is_ours(const struct metrics *m)
{
    char layout[METRICS_LAYOUT_MAX];

    describe_layout(layout);
    return memcmp(m->shared->layout, layout, sizeof(layout)) == 0;
}

/* A view of all that is there. */
static struct metrics *map_present(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || (size_t)st.st_size < shared_bytes(1) ||
        (size_t)st.st_size > shared_bytes(UINT32_MAX)) {
        errno = EPROTO;
        return NULL;
    }
    return map(fd, (uint32_t)(((size_t)st.st_size - shared_bytes(0)) / sizeof(struct metrics_block)));
}

/* The view is closed; what it is a view of stays. */
static void unmap(struct metrics *m)
{
    m->fd = -1;
    metrics_destroy(m);
}

struct metrics *metrics_inherit(int fd, uint32_t count)
{
    struct metrics *m = map_present(fd), *larger;

    if (!m) {
        return NULL;
    }
    if (!is_ours(m)) {
        unmap(m);
        errno = EPROTO;
        return NULL;
    }
    count += living_blocks(m);
    if (count <= m->count) {
        return m;
    }
    larger = ftruncate(fd, (off_t)shared_bytes(count)) == 0 ? map(fd, count) : NULL;
    unmap(m);
    return larger;
}

/* -- counting -- */

enum metrics_method metrics_method(const char *method, size_t n)
{
    static const char *const names[METHOD_OTHER] = {"GET",   "HEAD",   "POST",    "PUT",
                                                    "PATCH", "DELETE", "OPTIONS", "QUERY"};
    for (int i = 0; i < METHOD_OTHER; i++) {
        if (strlen(names[i]) == n && memcmp(names[i], method, n) == 0) {
            return (enum metrics_method)i;
        }
    }
    return METHOD_OTHER;
}

/* One writer a block: plain loads and stores, no locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void metrics_add(struct metrics_block *block, const struct metrics_facts *facts)
{
    add(&block->requests, 1);
    add(&block->bytes_in, facts->bytes_in);
    add(&block->bytes_out, facts->bytes_out);
    add(&block->methods[facts->method], 1);
    if (facts->status >= METRICS_STATUS_MIN && facts->status <= METRICS_STATUS_MAX) {
        add(&block->statuses[facts->status - METRICS_STATUS_MIN], 1);
    }
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        if (facts->times[i] != UINT64_MAX) {
            histogram_add(&block->histograms[i], facts->times[i]);
        }
    }
}

/* From one point in time to a later one, if both were reached. */
static uint64_t between(uint64_t from, uint64_t to)
{
    return from == 0 || to < from ? UINT64_MAX : to - from;
}

void metrics_add_request(struct metrics_block *block, const struct request *r, uint64_t ended_us)
{
    const struct request_times *t = &r->times;
    uint64_t arrived = t->accepted ? t->accepted : t->started;
    struct metrics_facts facts = {
        .method = metrics_method(r->method ? r->method : "", r->method ? strlen(r->method) : 0),
        .status = r->status,
        .bytes_in = r->body_read,
        .bytes_out = r->body_sent,
        .times =
            {
                [HISTOGRAM_DURATION] = between(arrived, t->finished ? t->finished : ended_us),
                [HISTOGRAM_QUEUE] = between(t->queued, t->started),
                [HISTOGRAM_PHP_START] = between(t->started, t->php_started),
                [HISTOGRAM_SCRIPT] = between(t->php_started, t->script_done),
                [HISTOGRAM_PHP_SHUTDOWN] = between(t->script_done, ended_us),
            },
    };
    if (block) {
        metrics_add(block, &facts);
    }
}

void metrics_count(struct metrics *m, enum metrics_total which, uint64_t n)
{
    atomic_fetch_add_explicit(&m->shared->totals[which], n, memory_order_relaxed);
}

uint64_t metrics_counted(const struct metrics *m, enum metrics_total which)
{
    return atomic_load_explicit(&m->shared->totals[which], memory_order_relaxed);
}

/* -- reading -- */

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void merge_block(struct metrics_sum *into, const struct metrics_block *block)
{
    into->requests += get(&block->requests);
    into->bytes_in += get(&block->bytes_in);
    into->bytes_out += get(&block->bytes_out);
    for (int i = 0; i < METHOD_COUNT; i++) {
        into->methods[i] += get(&block->methods[i]);
    }
    for (int i = 0; i <= METRICS_STATUS_MAX - METRICS_STATUS_MIN; i++) {
        into->statuses[i] += get(&block->statuses[i]);
    }
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        histogram_merge(&into->histograms[i], &block->histograms[i]);
    }
}

void metrics_merge(struct metrics_sum *into, const struct metrics *m)
{
    for (uint32_t i = 0; i < used_blocks(m); i++) {
        const struct metrics_block *block = &m->shared->blocks[i];

        if (get(&block->requests) != 0) { /* pages of an unused block stay untouched */
            merge_block(into, block);
        }
        into->connections += atomic_load_explicit(&block->connections, memory_order_relaxed);
        into->pending += atomic_load_explicit(&block->pending, memory_order_relaxed);
        for (int e = 0; e < POOL_EVENTS; e++) {
            into->events[e] += get(&block->events[e]);
        }
    }
    for (int t = 0; t < METRICS_TOTALS; t++) {
        into->totals[t] += metrics_counted(m, (enum metrics_total)t);
    }
}

void metrics_total(const struct metrics *m, struct metrics_totals *out)
{
    *out = (struct metrics_totals){0};
    for (uint32_t i = 0; i < used_blocks(m); i++) {
        out->requests += get(&m->shared->blocks[i].requests);
        out->connections += atomic_load_explicit(&m->shared->blocks[i].connections, memory_order_relaxed);
    }
}
