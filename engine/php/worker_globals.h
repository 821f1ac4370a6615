/* The superglobals of a request of a worker script. The script's own are put aside before, and are back
 * behind it. Its thread. */
#ifndef ENGINE_PHP_WORKER_GLOBALS_H
#define ENGINE_PHP_WORKER_GLOBALS_H

#include "engine/php/thread.h"

#include "php_variables.h"

enum superglobal {
    SUPER_GET,
    SUPER_POST,
    SUPER_COOKIE,
    SUPER_SERVER,
    SUPER_ENV,
    SUPER_FILES,
    SUPER_REQUEST,
    SUPER_SESSION,
    SUPERGLOBALS
};

/* The script's own. */
struct worker_globals {
    zval tracked[NUM_TRACK_VARS];
    zval visible[SUPERGLOBALS]; /* UNDEF = there is none */
};

void worker_globals_start(void); /* main thread, while the module starts */
void worker_globals_aside(struct worker_globals *own);
void worker_globals_make(const struct worker_globals *own);
void worker_globals_end_session(void);
void worker_globals_end(void);
void worker_globals_take_back(struct worker_globals *own);

#endif
