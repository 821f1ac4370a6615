/* OPcache's usage locks, which the guard makes superfluous. */
#ifndef ENGINE_PHP_OPCACHE_LOCK_H
#define ENGINE_PHP_OPCACHE_LOCK_H

#include <stdbool.h>

/* From now on usage locks on this descriptor are not passed to the kernel. Main thread, before others exist.
 */
void opcache_lock_answer(int fd);
/* Whether this fcntl() is answered, successfully, without the kernel. Any thread; also before main(). */
bool opcache_lock_answers(int fd, int command, void *argument);

#endif
