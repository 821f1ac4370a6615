/* Ini settings of one request: PHP_VALUE and PHP_ADMIN_VALUE, as the web server sends them. Worker's thread.
 * Source: fastcgi_ini_parser() and fpm_php_apply_defines_ex() of sapi/fpm. */
#ifndef ENGINE_PHP_INI_REQUEST_H
#define ENGINE_PHP_INI_REQUEST_H

#include "engine/php/thread.h"

/* Entries that act on the whole process keep their values in this thread, whoever asks. When it starts. */
void ini_keep_process_entries(void);
/* Before request startup, between two requests' memory. false: PHP ended the request with a fatal error,
 * which is reported. */
bool ini_apply_request(struct php_thread *t, const struct request *r);
/* After request shutdown: everything is as before ini_apply_request. */
void ini_request_end(struct php_thread *t);

#endif
