/* Which pool's processes hold which files that they may not read: certificates, keys, authorities, and hashes
 * of passwords (net/pem.h keeps their text). Supervisor's thread, but for inherited_forget, which an engine
 * process's main thread calls. All of them are struct frontend's. */
#ifndef HTTP_INHERITED_H
#define HTTP_INHERITED_H

#include "engine/engine.h"

void inherited_files(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx);
void inherited_renew(const struct config *config, void (*outdated)(const struct pool_conf *pool, void *ctx),
                     void *ctx);
/* Whoever can read this process's memory finds no other pool's secrets, and no keys where there is no TLS. */
void inherited_forget(const struct pool_conf *pool);

#endif
