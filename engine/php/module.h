/* The extension that the engine is to PHP: "cgi-fcgi", with php-fpm's ini entries and the server's functions.
 */
#ifndef ENGINE_PHP_MODULE_H
#define ENGINE_PHP_MODULE_H

#include "engine/php/thread.h"

extern zend_module_entry cgi_module_entry;

#endif
