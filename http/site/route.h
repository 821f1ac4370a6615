/* Routing: from a request's path to a file or a script, with all that path safety asks for. One router per
 * pool and engine process; any loop thread (its cache is guarded by its own lock). Needs no event library. */
#ifndef HTTP_SITE_ROUTE_H
#define HTTP_SITE_ROUTE_H

#include "engine/base/arena.h"
#include "http/wire/head.h"

struct http_settings;
struct pool_conf;
struct router;

enum route_kind { ROUTE_SCRIPT, ROUTE_FILE, ROUTE_REDIRECT, ROUTE_ERROR };

struct route {
    enum route_kind kind;
    int status;                        /* ERROR: 400 403 404 414 503; REDIRECT: 301 */
    struct str path;                   /* SCRIPT, FILE: the file's real path, NUL-terminated, arena */
    struct str script_name, path_info; /* SCRIPT: $_SERVER's; path_info may be empty */
    struct str location;               /* REDIRECT: path and query */
    struct str
        root; /* SCRIPT, FILE: the real path of the document root that it was found in, NUL-terminated */
};

struct router *router_create(const struct http_settings *settings,
                             const char *limit_extensions); /* NULL: reported */
void router_destroy(struct router *r);
/* Always fills out. The decoded path never leaves the document root, symlinks included. */
void route_resolve(struct router *r, const struct http_head *head, struct arena *arena, struct route *out);
/* The same for a script on another machine: nothing is looked up. A path with a script's name in it is that
 * script, a directory is its index.php, anything else is the index. */
void route_assume(struct router *r, const struct http_head *head, struct arena *arena, struct route *out);

#endif
