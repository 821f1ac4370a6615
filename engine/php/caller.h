/* What the script that runs has called. */
#ifndef ENGINE_PHP_CALLER_H
#define ENGINE_PHP_CALLER_H

#include "engine/php/thread.h"

/* Argument n (from 1) of the internal function that a request's code is in; NULL = there is none, or none so
 * far. function: its name, for one that is no method; NULL = whichever. Worker's thread; NULL on others. */
zval *caller_argument(const char *function, uint32_t n);

/* Whether that function belongs to this extension. */
bool caller_is_of(const char *extension);

#endif
