/* Functions that PHP has, done in another way. */
#ifndef ENGINE_PHP_OVERRIDE_H
#define ENGINE_PHP_OVERRIDE_H

#include "engine/php/thread.h"

/* Main thread, before workers: replaces the handler of an internal function. false if PHP has none of that
 * name; *old (may be NULL) gets the former handler. */
bool override_function(const char *name, zif_handler handler, zif_handler *old);

/* A worker's thread, once it has PHP's globals: the same in its function table, where it has one of its own.
 */
void override_thread_start(void);

#endif
