/* What the control thread looks after: files that worker.watch names; and once a second: counts for the
 * scoreboard, the backlog of the listening sockets, used-up requests, memory, the executor's caches. Each can
 * be the reason for a generation swap.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

/* A change is acted on once nothing has changed for so long, or so long after the first one. */
#define FILES_QUIET_US (CLOCK_US_PER_SECOND / 5)
#define FILES_WAIT_US  (2 * CLOCK_US_PER_SECOND)

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
        pool->swap_planned = pool->swap_planned || pool_swap_reason(pool) == NULL;
        pool_request_swap(pool, "pm.max_requests is used up");
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

static void sample(struct pool *pool)
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

/* -- files -- */

static void start_files(struct pool *pool)
{
    const char *patterns = pool->conf->s.worker_watch;

    if (!patterns || !*patterns) {
        return;
    }
    pool->files = file_watch_open(patterns);
    if (!pool->files || wakeup_add(pool, file_watch_fd(pool->files)) != 0) {
        log_sys(LEVEL_WARNING, "[pool %s] worker.watch: files cannot be watched", pool->conf->name);
    } else if (file_watch_folders(pool->files) == 0) {
        log_warning("[pool %s] worker.watch: there is no folder to watch", pool->conf->name);
    }
}

/* Once for all that changes together: an editor writes a file in steps, a deployment many files. */
void watch_files(struct pool *pool, uint64_t now)
{
    char name[256];

    if (pool->files && file_watch_changed(pool->files, name, sizeof(name))) {
        pool->files_first_us = pool->files_changed_us ? pool->files_first_us : now;
        pool->files_changed_us = now;
        log_notice("[pool %s] changed: %s", pool->conf->name, name);
    }
    if (pool->files_changed_us &&
        (now - pool->files_changed_us >= FILES_QUIET_US || now - pool->files_first_us >= FILES_WAIT_US)) {
        pool->files_changed_us = 0;
        pool_request_renewal(pool, "a file of worker.watch has changed");
    }
}

void watch_start(struct pool *pool)
{
    start_files(pool);
    memory_start(pool);
    sample(pool);
}

void watch_tick(struct pool *pool, uint64_t now)
{
    const char *why = NULL;

    sample(pool);
    count_log(pool);
    memory_check_group(pool, now);
    check_requests(pool);
    if (pool->executor->check && pool->executor->check(&why)) {
        pool_request_swap(pool, why);
    }
}
