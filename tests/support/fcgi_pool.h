/* A real pool with the FastCGI front end and no PHP: its executor does what QUERY_STRING says. For tests in
 * one process. The control thread is a thread of its own. */
#ifndef TESTS_SUPPORT_FCGI_POOL_H
#define TESTS_SUPPORT_FCGI_POOL_H

#include <stdbool.h>

#include "engine/engine_settings.h"

struct fcgi_front;
struct fcgi_pool;

/* Listens on the unix socket `path` with this many workers; ends the process if it cannot. */
struct fcgi_pool *fcgi_pool_start(const char *path, int workers, const struct pool_settings *settings);
/* Drains and waits, at most this long; false = something was left. Frees everything. */
bool fcgi_pool_stop(struct fcgi_pool *p, unsigned seconds);
unsigned fcgi_pool_open_connections(struct fcgi_pool *p);
struct fcgi_front *fcgi_pool_front(struct fcgi_pool *p); /* to do it harm */

#endif
