/* What the control thread looks at once a second: counts for the scoreboard, the backlog of the listening
 * sockets, used-up requests, memory, the executor's caches. Each can be the reason for a generation swap.
 *
 * Memory: pm.max_memory is the ceiling of this process's resident memory; it is replaced when it comes near,
 * and looked at on every tick, because a leak does not wait a second. Without it the cgroup's limit decides:
 * when the group is nearly full, the process that holds a large part of it is replaced, before the kernel
 * kills one.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

/* A ceiling below what a fresh process needs must not make a chain of swaps: until this time it has to have
 * grown by half as well. */
#define MEMORY_GRACE_US (10 * CLOCK_US_PER_SECOND)
#define MEMORY_LOOK_US  (CLOCK_US_PER_SECOND / 20)

/* -- memory -------------------------------------------------------------------------------------------- */

/* A small file's text; false if there is none. */
static bool read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

    if (fd >= 0) {
        close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* A file of this process's cgroup, version 2. 0: no such file, no number ("max"). */
static uint64_t cgroup_number(const char *file)
{
    char groups[4096], path[4400], text[64];

    if (!read_text("/proc/self/cgroup", groups, sizeof(groups))) {
        return 0;
    }
    char *own = strstr(groups, "0::/");

    if (!own) {
        return 0;
    }
    own += 3;
    own[strcspn(own, "\n")] = '\0';
    snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", own, file);
    if (!read_text(path, text, sizeof(text))) {
        /* In a container the group is the root of what is mounted. */
        snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", file);
        if (!read_text(path, text, sizeof(text))) {
            return 0;
        }
    }
    return strtoull(text, NULL, 10);
}

static uint64_t resident_bytes(void)
{
    char text[128];
    unsigned long long pages = 0;

    if (!read_text("/proc/self/statm", text, sizeof(text)) || sscanf(text, "%*u %llu", &pages) != 1) {
        return 0;
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool is_worth_a_swap(const struct pool *pool, uint64_t resident, uint64_t now)
{
    return now - pool->started_us >= MEMORY_GRACE_US || resident > pool->memory_first / 2 * 3;
}

void watch_memory(struct pool *pool, uint64_t now)
{
    if (!pool->memory_limit || now < pool->next_memory_us) {
        return;
    }
    uint64_t resident = resident_bytes();

    pool->next_memory_us = now + MEMORY_LOOK_US;
    if (resident > pool->memory_limit / 10 * 9 && is_worth_a_swap(pool, resident, now)) {
        pool_request_swap(pool, "pm.max_memory is reached");
    }
}

static void check_group(struct pool *pool, uint64_t now)
{
    if (pool->memory_limit || !pool->cgroup_limit) {
        return;
    }
    uint64_t resident = resident_bytes();
    uint64_t used = cgroup_number("memory.current");

    if (used > pool->cgroup_limit / 10 * 9 && resident > used / 4 && is_worth_a_swap(pool, resident, now)) {
        pool_request_swap(pool, "the control group's memory is nearly full");
    }
}

/* -- requests ------------------------------------------------------------------------------------------ */

/* php-fpm ends a child after pm.max_requests; here the process is replaced when all its workers together have
 * used up theirs. */
static void check_requests(struct pool *pool)
{
    uint64_t served = pool->retired_requests;
    uint64_t most = (uint64_t)pool->conf->s.max_requests;
    uint32_t workers = 0;

    if (most == 0) {
        return;
    }
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i] && !pool->workers[i]->page) {
            served += atomic_load_explicit(&pool->workers[i]->slot->requests, memory_order_relaxed);
            workers++;
        }
    }
    if (workers > 0 && served >= most * workers) {
        pool_request_swap(pool, "pm.max_requests is used up");
    }
}

/* -- the backlog --------------------------------------------------------------------------------------- */

struct backlog {
    uint32_t waiting, length;
};

/* As php-fpm: TCP only, where TCP_INFO of a listening socket says how many wait and how many may. */
static void add_backlog(void *ctx, int fd)
{
    struct backlog *sum = ctx;
    struct tcp_info info;
    socklen_t n = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0) {
        sum->waiting += info.tcpi_unacked;
        sum->length += info.tcpi_sacked;
    }
}

static void sample(struct pool *pool)
{
    struct scoreboard *board = pool->board;
    struct backlog sum = {0};
    uint32_t idle, active, total;

    scoreboard_count(board, &idle, &active, &total);
    atomic_store(&board->idle, idle);
    atomic_store(&board->active, active);
    waitset_listeners(pool->waitset, add_backlog, &sum);
    atomic_store(&board->listen_queue, sum.waiting);
    atomic_store(&board->listen_queue_len, sum.length);
    if (sum.waiting > atomic_load(&board->listen_queue_max)) {
        atomic_store(&board->listen_queue_max, sum.waiting);
    }
}

static void count_log(struct pool *pool)
{
    uint64_t all = log_dropped();

    if (all > pool->log_dropped) {
        pool_count_events(pool, EVENT_LOG_DROPPED, all - pool->log_dropped);
        pool->log_dropped = all;
    }
}

void watch_start(struct pool *pool)
{
    if (pool->conf->s.max_memory > 0) {
        pool->memory_limit = (uint64_t)pool->conf->s.max_memory;
    } else {
        pool->cgroup_limit = cgroup_number("memory.max");
    }
    pool->memory_first = resident_bytes();
    sample(pool);
}

void watch_tick(struct pool *pool, uint64_t now)
{
    const char *why = NULL;

    sample(pool);
    count_log(pool);
    check_group(pool, now);
    check_requests(pool);
    if (pool->executor->check && pool->executor->check(&why)) {
        pool_request_swap(pool, why);
    }
}
