/* Whose files, pages and settings a request meets: what site/sites.c makes of a pool. Read-only afterwards:
 * any thread. */
#ifndef HTTP_CONTENT_SITE_H
#define HTTP_CONTENT_SITE_H

#include "engine/engine.h"
#include "http/content/added_fields.h"
#include "http/http_settings.h"

struct basic_auth;
struct cidr_list;
struct error_pages;
struct rate_limit;
struct router;
struct static_files;

/* What a host or a path is served by. A path's pool without a document root of its own has the host's files,
 * and the host's settings where it sets none. */
struct http_site {
    const struct pool_conf *conf;         /* whose name, ping and status pages these are */
    const struct http_settings *settings; /* of what is said of rows OWNER_SITE and OWNER_FILES */
    const struct cidr_list *trusted;      /* proxies; NULL: nobody is */
    struct rate_limit *rate;              /* NULL: no limit; locks itself */
    struct basic_auth *auth;              /* NULL: nobody is asked for a password */
    struct router *router;
    struct static_files *files;
    struct error_pages *pages;
    struct added_fields added;
};

#endif
