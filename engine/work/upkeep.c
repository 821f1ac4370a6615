/* What the control thread looks after once a second: the backlog of the listening sockets, counts for the
 * scoreboard, used-up requests, memory, the executor's caches. Some of it can be the reason for a generation
 * swap. */
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "engine/base/log.h"
#include "engine/work/pool_private.h"

/* -- requests -- */

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
        if (pool->workers[i] && pool->workers[i]->kind != KIND_PAGE) {
            served += atomic_load_explicit(&pool->workers[i]->slot->requests, memory_order_relaxed);
            workers++;
        }
    }
    if (workers > 0 && served >= most * workers) {
        pool_plan_swap(pool, "pm.max_requests is used up");
    }
}

/* -- the backlog -- */

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

void upkeep_sample(struct pool *pool)
{
    struct scoreboard_numbers *board = pool->board->numbers;
    struct backlog sum = {0};

    waitset_listeners(pool->lanes[KIND_CLASSIC].waitset, add_backlog, &sum);
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

void upkeep_tick(struct pool *pool, uint64_t now)
{
    const char *why = NULL;

    upkeep_sample(pool);
    count_log(pool);
    memory_check_group(pool, now);
    check_requests(pool);
    if (pool->executor->check && pool->executor->check(&why)) {
        pool_request_swap(pool, why);
    }
    if (pool->executor->stale && pool->executor->stale(&why)) {
        pool_request_renewal(pool, why);
    }
}
