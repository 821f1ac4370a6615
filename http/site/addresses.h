/* HTTP listeners that several pools share, as the configuration says it. The first pool that names an address
 * has it; others claim host names and paths there, and get an internal FastCGI address on which they take
 * such requests. Supervisor's thread; the questions also in engine processes. */
#ifndef HTTP_SITE_ADDRESSES_H
#define HTTP_SITE_ADDRESSES_H

#include "engine/engine.h"

/* Called for each pool, works at the last one: only then are all of them known. 0 or -1 (reported). */
int addresses_check(const struct config *config, const struct pool_conf *pool);
/* Calls fn for each address of a pool; kind: LISTENER_PLAIN or LISTENER_TLS. 0, or fn's first other result.
 */
int addresses_each(const struct pool_conf *pool, int (*fn)(void *ctx, const char *address, int kind),
                   void *ctx);
int addresses_each_in(const char *list, int kind, int (*fn)(void *ctx, const char *address, int kind),
                      void *ctx);
/* The pool that has this address: the first that names it. */
const struct pool_conf *addresses_owner(const struct pool_conf *first, const char *address);
/* Does the pool have an HTTP listener of its own? */
bool addresses_has_one(const struct pool_conf *pool);
/* Does `pool` claim requests on the listeners of `owner`? */
bool addresses_are_shared(const struct pool_conf *pool, const struct pool_conf *owner);

#endif
