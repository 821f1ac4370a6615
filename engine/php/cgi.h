/* This thread's cgi.* and fastcgi.* settings: php-fpm's module globals. Read on the thread that they belong
 * to. */
#ifndef ENGINE_PHP_CGI_H
#define ENGINE_PHP_CGI_H

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

/* Copies them to where the front ends read them (cgi_rules). */
void cgi_publish_rules(void);

#endif
