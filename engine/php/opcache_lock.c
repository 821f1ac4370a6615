/* OPcache takes a lock on byte 1 of its lock file for each request and gives all of them back at its end: two
 * system calls, and one lock of the kernel that all threads meet at. Since the guard holds the same lock
 * (opcache_guard.c) they change nothing: who asks whether somebody uses the memory hears "yes" anyway. So the
 * fcntl() that OPcache calls (interpose.c) answers exactly these three, on exactly that descriptor. The lock
 * on byte 0, around writing, stays real. */
#include "engine/php/opcache_lock.h"

#include <fcntl.h>
#include <stdatomic.h>

static _Atomic int answered_fd = -1;

void opcache_lock_answer(int fd)
{
    atomic_store(&answered_fd, fd);
}

static bool is_byte_1(const struct flock *lock)
{
    return lock->l_start == 1 && lock->l_len == 1;
}

static bool is_usage_lock(const struct flock *lock)
{
    bool whole = lock->l_start == 0 && lock->l_len == 0;

    return (is_byte_1(lock) && lock->l_type == F_RDLCK) ||
           ((is_byte_1(lock) || whole) && lock->l_type == F_UNLCK);
}

/* In the kernel's words: in use, by no process. (opcache.force_restart_timeout would have a process killed.)
 */
static bool says_used(struct flock *lock)
{
    if (!is_byte_1(lock)) {
        return false;
    }
    lock->l_type = F_RDLCK;
    lock->l_pid = -1;
    return true;
}

bool opcache_lock_answers(int fd, int command, void *argument)
{
    if (fd < 0 || fd != atomic_load_explicit(&answered_fd, memory_order_relaxed)) {
        return false;
    }
    return (command == F_SETLK && is_usage_lock(argument)) || (command == F_GETLK && says_used(argument));
}
