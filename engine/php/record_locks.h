/* Record locks (fcntl(2)) belong to the process, and the kernel takes all that it has on a file as soon as it
 * closes any descriptor of that file. So a request that reads a database as a file (a backup, a download)
 * would leave another request's transaction without its locks, and a program beside us would write into the
 * middle of it; in php-fpm it would only take its own worker's. Here such a descriptor is closed later: when
 * nobody has locks on its file any more. Any thread. */
#ifndef ENGINE_PHP_RECORD_LOCKS_H
#define ENGINE_PHP_RECORD_LOCKS_H

#include <stdio.h>

/* fcntl(2), which libraries call; notes who has locks. */
int record_locks_fcntl(int fd, int command, void *argument, int (*fcntl_of_libc)(int, int, ...));
/* close(2) and fclose(3). */
int record_locks_close(int fd, int (*close_of_libc)(int));
int record_locks_fclose(FILE *stream, int (*fclose_of_libc)(FILE *));

#endif
