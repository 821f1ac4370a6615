/* The functions that PHP code can call here. */
#ifndef ENGINE_PHP_FUNCTIONS_H
#define ENGINE_PHP_FUNCTIONS_H

#include "engine/php/thread.h"

const zend_function_entry *functions_table(void);
/* The one parameter of a function that sends a head, 200 if it is left out. False: an error has been thrown.
 */
bool functions_status(INTERNAL_FUNCTION_PARAMETERS, zend_long *status);

/* functions_aliases.c */
ZEND_FUNCTION(frankenphp_log);
ZEND_FUNCTION(headers_send);

#endif
