/* Files that engine processes inherit as text, when they have changed: each is read again, a pool whose files
 * cannot be used keeps those before them, and the processes that hold what is renewed are out of date.
 * Supervisor's thread. */
#ifndef HTTP_RENEWAL_H
#define HTTP_RENEWAL_H

#include "engine/engine.h"

/* struct frontend's renew. */
void renewal_look(const struct config *config, void (*outdated)(const struct pool_conf *pool, void *ctx),
                  void *ctx);

#endif
