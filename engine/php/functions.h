/* The functions that PHP code can call here. */
#ifndef ENGINE_PHP_FUNCTIONS_H
#define ENGINE_PHP_FUNCTIONS_H

#include "engine/php/thread.h"

const zend_function_entry *functions_table(void);

/* functions_aliases.c */
ZEND_FUNCTION(frankenphp_log);
ZEND_FUNCTION(headers_send);

#endif
