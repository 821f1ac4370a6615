/* Which pool's processes hold which files that they may not read: certificates, keys, authorities, and hashes
 * of passwords (net/pem.h keeps their text). Supervisor's thread, but for inherited_forget, which an engine
 * process's main thread calls. */
#ifndef HTTP_INHERITED_H
#define HTTP_INHERITED_H

#include "engine/engine.h"

/* These two are struct frontend's. */
void inherited_files(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx);
/* Whoever can read this process's memory finds no other pool's secrets, and no keys where there is no TLS. */
void inherited_forget(const struct pool_conf *pool);

/* Does the owner's process need what that pool names? Its own, and those of the hosts that others have on its
 * listeners. */
bool inherited_holds(const struct pool_conf *owner, const struct pool_conf *pool);

/* For functions that tell files: is this one among them? */
struct inherited_search {
    const char *path;
    bool found;
};
void inherited_compare(const char *path, void *search);

#endif
