/* OPcache's usage locks, which the guard makes superfluous. */
#ifndef ENGINE_PHP_OPCACHE_LOCK_H
#define ENGINE_PHP_OPCACHE_LOCK_H

/* From now on usage locks on this descriptor are not passed to the kernel; -1 = all are. Main thread. */
void opcache_lock_skip(int fd);

#endif
