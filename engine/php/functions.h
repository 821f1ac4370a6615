/* The functions that PHP code can call here, and overriding functions that PHP has. */
#ifndef ENGINE_PHP_FUNCTIONS_H
#define ENGINE_PHP_FUNCTIONS_H

#include "engine/php/thread.h"

const zend_function_entry *functions_table(void);
const char *functions_version(void);
/* Main thread, before workers: replaces the handler of an internal function. false if PHP has none of that
 * name; *old (may be NULL) gets the former handler. */
bool functions_override(const char *name, zif_handler handler, zif_handler *old);
/* This request's id and place in a trace, made now if the front end did not. */
const struct request_trace *functions_trace(struct request *r);

#endif
