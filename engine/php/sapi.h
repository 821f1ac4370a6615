/* The server as PHP sees it: where output, headers, body, cookies and messages go. */
#ifndef ENGINE_PHP_SAPI_H
#define ENGINE_PHP_SAPI_H

#include "engine/php/thread.h"

extern sapi_module_struct sapi_table; /* "fpm-fcgi"; PHP works on a copy of it */
extern bool sapi_prints;              /* without a request, output goes to stdout; set before PHP starts */

/* This thread's log lines go to the web server of its running request too. */
void sapi_tap_log(bool on);
/* Everything of the response leaves, and the client has it whole; the script goes on. false: it had been done
 * before. */
bool sapi_finish_early(void);
/* The head leaves now. false: there is nobody to send it to. */
bool sapi_send_head_now(void);
/* A 1xx response with the headers set so far. false: the head itself has left. */
bool sapi_send_interim(int status);

#endif
