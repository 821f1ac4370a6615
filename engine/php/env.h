/* The environment, virtual: every request sees the pool's, and what it changes with putenv() is its own. The
 * process's real environment is never touched after start-up. */
#ifndef ENGINE_PHP_ENV_H
#define ENGINE_PHP_ENV_H

#include "engine/php/thread.h"

void env_start(void);            /* main thread, after module startup: snapshot, function overrides */
void env_import(HashTable *out); /* the environment as this request sees it */
void env_request_end(void);

#endif
