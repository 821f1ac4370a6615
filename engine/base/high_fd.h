/* Descriptors of the server's own, out of the way of scripts: select(2), which stream_select() of PHP and
 * some libraries call, knows none above 1,023, and the lowest free number is what a script's next one gets.
 */
#ifndef ENGINE_BASE_HIGH_FD_H
#define ENGINE_BASE_HIGH_FD_H

/* fd, or the number that it has from now on. A few stay where they are: moving one costs two system calls. */
int high_fd(int fd);

#endif
