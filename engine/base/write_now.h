/* Writing a log, with and without waiting for whoever reads it. Any thread. */
#ifndef ENGINE_BASE_WRITE_NOW_H
#define ENGINE_BASE_WRITE_NOW_H

#include <stddef.h>

/* How many of the n bytes went out; less: errno says why. A regular file gets all of them or has an error.
 * A pipe, a socket or a terminal gets what it takes at once: up to PIPE_BUF bytes all or nothing. */
size_t write_now(int fd, const char *p, size_t n);
/* The same with all the time that the reader takes; less than n is an error. */
size_t write_waiting(int fd, const char *p, size_t n);

#endif
