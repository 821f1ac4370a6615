/* Paths of scripts, and the working directory that they start from. */
#ifndef ENGINE_PHP_PATHS_H
#define ENGINE_PHP_PATHS_H

#include "engine/php/thread.h"

#include "zend_virtual_cwd.h"

/* This thread's working directory, PHP's memory. cwd is NULL between requests. */
cwd_state *paths_directory(void);

#endif
