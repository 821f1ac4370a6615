/* OPcache takes a lock on byte 1 of its lock file for each request and gives all of them back at its end: two
 * system calls, and one lock of the kernel that all threads meet at. While the guard process holds the same
 * lock they change nothing: who asks whether somebody uses the memory hears "yes" anyway. So this program has
 * an fcntl() of its own, which the dynamic linker gives to OPcache: it answers exactly those two calls, on
 * exactly that descriptor, and hands on everything else. The lock on byte 0, around writing, stays real.
 *
 * Any thread; also before main(). */
#include "engine/php/opcache_lock.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef int (*fcntl_fn)(int fd, int command, ...);

static _Atomic int skipped_fd = -1;
static _Atomic(fcntl_fn) fcntl_of_libc;

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

__attribute__((visibility("default"))) int fcntl(int fd, int command, ...)
{
    fcntl_fn real = atomic_load_explicit(&fcntl_of_libc, memory_order_relaxed);
    va_list arguments;

    va_start(arguments, command);
    void *argument = va_arg(arguments, void *); /* an int argument arrives in the same register */
    va_end(arguments);
    if (command == F_SETLK && fd >= 0 && fd == atomic_load_explicit(&skipped_fd, memory_order_relaxed) &&
        is_usage_lock(argument)) {
        return 0;
    }
    if (!real) {
        real = (fcntl_fn)dlsym(RTLD_NEXT, "fcntl");
        if (!real) {
            errno = ENOSYS;
            return -1;
        }
        atomic_store_explicit(&fcntl_of_libc, real, memory_order_relaxed);
    }
    return real(fd, command, argument);
}
