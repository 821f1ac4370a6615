/* The extension that the engine is to PHP: "cgi-fcgi", with php-fpm's ini entries and the server's functions.
 */
#ifndef ENGINE_PHP_MODULE_H
#define ENGINE_PHP_MODULE_H

#include "engine/php/thread.h"

ZEND_BEGIN_MODULE_GLOBALS(cgi)
bool rfc2616_headers;
bool nph;
bool force_redirect;
char *redirect_status_env;
bool fix_pathinfo;
bool discard_path;
bool logging;
char *error_header;
char *fpm_config;
HashTable user_ini; /* directory => struct user_ini, see ini.c */
ZEND_END_MODULE_GLOBALS(cgi)

ZEND_EXTERN_MODULE_GLOBALS(cgi)
#define CGIG(v) ZEND_MODULE_GLOBALS_ACCESSOR(cgi, v)

extern zend_module_entry cgi_module_entry;

/* Copies this thread's cgi.* settings to where the front ends read them. */
void module_publish_rules(void);

#endif
