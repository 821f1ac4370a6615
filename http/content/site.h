/* Whose files, pages and settings a request meets: what site/sites.c makes of a pool. Read-only afterwards:
 * any thread. */
#ifndef HTTP_CONTENT_SITE_H
#define HTTP_CONTENT_SITE_H

#include "engine/engine.h"
#include "http/content/security_headers.h"
#include "http/http_settings.h"

struct error_pages;
struct router;
struct static_files;

/* One document root with its settings. */
struct http_site {
    const struct pool_conf *conf;
    const struct http_settings *settings;
    struct router *router;
    struct static_files *files;
    struct error_pages *pages;
    struct security_headers security; /* none if http.security_headers is off */
};

#endif
