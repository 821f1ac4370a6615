/* Functions of PHP whose calls leave something behind in a worker script's thread that the next request must
 * not find. Asking each extension after each request whether it is as it was costs more than a small request;
 * so these functions are noted when they are called, and only then it is asked. */
#ifndef ENGINE_PHP_NOTED_H
#define ENGINE_PHP_NOTED_H

#include "engine/php/thread.h"

void noted_install(void); /* main thread, after module startup, behind all other overrides */

/* This thread has called one of them since it was last asked. */
bool noted_take(void);
/* This thread has ever made a mysqli_driver: whoever has one sets what mysqli makes of errors without a call.
 */
bool noted_driver(void);
/* Makes one that does not count. */
bool noted_make_driver(zend_class_entry *driver, zval *object);

#endif
