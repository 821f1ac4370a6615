/* What a script is in, read from outside while it runs. */
#ifndef ENGINE_PHP_STACK_H
#define ENGINE_PHP_STACK_H

#include "engine/php/thread.h"
#include "engine/work/call_stack.h"

/* See struct executor. */
int stack_read(const struct php_thread *t, struct call_stack *out);

#endif
