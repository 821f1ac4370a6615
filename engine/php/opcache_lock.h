/* OPcache's usage locks, which the guard makes superfluous. */
#ifndef ENGINE_PHP_OPCACHE_LOCK_H
#define ENGINE_PHP_OPCACHE_LOCK_H

#include <stdbool.h>

/* From now on usage locks on this descriptor are not passed to the kernel; -1 = all are. Main thread. */
void opcache_lock_skip(int fd);
/* Whether this fcntl() is to do nothing, successfully. Any thread; also before main(). */
bool opcache_lock_skips(int fd, int command, const void *argument);

#endif
