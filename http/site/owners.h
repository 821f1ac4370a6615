/* Settings that would be without effect where they are given. Supervisor's thread. */
#ifndef HTTP_SITE_OWNERS_H
#define HTTP_SITE_OWNERS_H

#include "engine/base/settings.h"
#include "engine/engine.h"

/* What the table's rows say of whose they are, held against the part that the pool has. When all pools are
 * known. 0, or -1 (reported). */
int owners_check(const struct setting_table *table, const struct config *config,
                 const struct pool_conf *pool);

#endif
