/* Certificates, keys and authorities of pools. Supervisor's thread, but for certificates_wanted, which an
 * engine process's main thread calls as well. */
#ifndef HTTP_CERTIFICATES_H
#define HTTP_CERTIFICATES_H

#include "engine/engine.h"

/* One of the pool's own addresses speaks TLS. */
bool certificates_wanted(const struct pool_conf *pool);
/* http.tls_self_signed: the pool's certificate is there. 0 or -1 (reported). */
int certificates_make(struct pool_conf *pool);
/* Can what the pool names be used? 0 or -1 (reported). */
int certificates_check(const struct config *config, const struct pool_conf *pool);
/* The files that it names. */
void certificates_files(const struct pool_conf *pool, void (*each)(const char *path, void *ctx), void *ctx);

#endif
