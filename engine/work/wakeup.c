/* What wakes the control thread between two ticks: one epoll descriptor over an eventfd that any thread may
 * write to, over the wait set of an ondemand pool while no worker is idle, and over what else is added. */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/work/pool_private.h"

int wakeup_add(struct pool *pool, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(pool->event_fd, EPOLL_CTL_ADD, fd, &event);
}

int wakeup_open(struct pool *pool)
{
    pool->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pool->event_fd = epoll_create1(EPOLL_CLOEXEC);
    if (pool->control_fd < 0 || pool->event_fd < 0 || wakeup_add(pool, pool->control_fd) != 0) {
        return -1;
    }
    if (!pool->ondemand) {
        return 0;
    }
    /* Asleep until wakeup_by_work. */
    int fd = waitset_fd(pool->lanes[KIND_CLASSIC].waitset);
    struct epoll_event event = {.events = EPOLLONESHOT, .data.fd = fd};

    return epoll_ctl(pool->event_fd, EPOLL_CTL_ADD, fd, &event);
}

void wakeup_close(struct pool *pool)
{
    close(pool->control_fd);
    close(pool->event_fd);
}

void wakeup_by_work(struct pool *pool)
{
    int fd = waitset_fd(pool->lanes[KIND_CLASSIC].waitset);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = fd};

    atomic_store(&pool->watching, true);
    epoll_ctl(pool->event_fd, EPOLL_CTL_MOD, fd, &event);
}

void wakeup_quiet(struct pool *pool)
{
    uint64_t count;

    while (read(pool->control_fd, &count, sizeof(count)) > 0) {
    }
}

void wakeup_wait(struct pool *pool, int timeout_ms)
{
    struct epoll_event event;

    epoll_wait(pool->event_fd, &event, 1, timeout_ms);
    wakeup_quiet(pool);
}

int pool_event_fd(const struct pool *pool)
{
    return pool->event_fd;
}

/* write(2) is async-signal-safe: the crash handler calls this too. */
void pool_wake_control(struct pool *pool)
{
    uint64_t one = 1;
    ssize_t written = write(pool->control_fd, &one, sizeof(one));

    (void)written; /* full means that the control thread is called already */
}
