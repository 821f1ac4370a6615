/* A PHP backtrace from inside a signal handler. */
#ifndef ENGINE_PHP_BACKTRACE_H
#define ENGINE_PHP_BACKTRACE_H

#include "engine/php/thread.h"

/* See struct executor. */
int backtrace_write(const struct php_thread *t, int fd, int depth);

#endif
