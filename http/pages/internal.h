/* The internal listener: health, metrics, settings and the dashboard, on one thread of its own per engine
 * process, which answers from shared memory alone, whatever loops and workers do. */
#ifndef HTTP_PAGES_INTERNAL_H
#define HTTP_PAGES_INTERNAL_H

#include "engine/engine.h"
#include "http/http_settings.h"

struct http_front;
struct internal;

/* Before the fork: 0, or -1 (reported). */
int internal_check(const struct pool_conf *pool, const struct http_settings *settings);
/* NULL: there is no listener of this kind. Control thread, as the others. */
struct internal *internal_create(const struct http_front *front);
int internal_open(struct internal *internal); /* from here on it answers. 0 or -1 (reported); NULL is fine */
/* A new generation listens by now, unless the server ends: then health checks are answered to the last. */
void internal_drain(struct internal *internal);
bool internal_drained(
    const struct internal *internal);          /* nobody waits for an answer any more; NULL is fine */
void internal_stop(struct internal *internal); /* NULL is fine */

#endif
