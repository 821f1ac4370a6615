/* How long browsers and caches may keep a static file: http.static_cache_ttl, and http.cache for some paths.
 * Prepared at the start, read-only afterwards: any thread. */
#ifndef HTTP_CONTENT_LIFETIME_H
#define HTTP_CONTENT_LIFETIME_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/str.h"

struct http_settings;
struct lifetimes;

struct lifetime {
    struct str pattern;     /* of paths */
    char cache_control[48]; /* empty: nothing is said */
    size_t cache_control_n;
    int64_t seconds; /* for Expires; 0 or less: no such field */
};

struct lifetimes *lifetimes_create(const struct http_settings *settings); /* NULL: out of memory */
void lifetimes_destroy(struct lifetimes *all);
/* path: as it came in the request. The first rule that fits, else the site's. */
const struct lifetime *lifetimes_find(const struct lifetimes *all, struct str path);

/* At the start: 0, or -1 with a sentence that names the setting. */
int lifetimes_check(const struct http_settings *settings, char *error, size_t size);

#endif
