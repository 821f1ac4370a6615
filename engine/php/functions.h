/* The functions that PHP code can call here. */
#ifndef ENGINE_PHP_FUNCTIONS_H
#define ENGINE_PHP_FUNCTIONS_H

#include "engine/php/thread.h"

const zend_function_entry *functions_table(void);

/* functions_head.c */
ZEND_FUNCTION(tokio_send_headers);
ZEND_FUNCTION(headers_send);

/* functions_aliases.c */
ZEND_FUNCTION(frankenphp_log);

#endif
