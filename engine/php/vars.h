/* $_SERVER, $_ENV and getenv() from the request's parameters and the pool's environment. */
#ifndef ENGINE_PHP_VARS_H
#define ENGINE_PHP_VARS_H

#include "engine/php/thread.h"

void vars_register_server(zval *array); /* sapi_module.register_server_variables */
void vars_install(void); /* main thread, after module startup: PHP's hooks for $_ENV and getenv() */

#endif
