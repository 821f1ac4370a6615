/* OPcache takes a lock on byte 1 of its lock file for each request and gives all of them back at its end: two
 * system calls, and one lock of the kernel that all threads meet at. While the guard process holds the same
 * lock they change nothing: who asks whether somebody uses the memory hears "yes" anyway. So the fcntl() that
 * OPcache calls (interpose.c) answers exactly those two, on exactly that descriptor. The lock on byte 0,
 * around writing, stays real. */
#include "engine/php/opcache_lock.h"

#include <fcntl.h>
#include <stdatomic.h>

static _Atomic int skipped_fd = -1;

void opcache_lock_skip(int fd)
{
    atomic_store(&skipped_fd, fd);
}

static bool is_usage_lock(const struct flock *lock)
{
    bool byte_1 = lock->l_start == 1 && lock->l_len == 1;
    bool whole = lock->l_start == 0 && lock->l_len == 0;

    return (byte_1 && lock->l_type == F_RDLCK) || ((byte_1 || whole) && lock->l_type == F_UNLCK);
}

bool opcache_lock_skips(int fd, int command, const void *argument)
{
    return command == F_SETLK && fd >= 0 && fd == atomic_load_explicit(&skipped_fd, memory_order_relaxed) &&
           is_usage_lock(argument);
}
