/* struct router, for route.c (what a path leads to on this machine) and route_assume.c (on another one). */
#ifndef HTTP_SITE_ROUTE_PRIVATE_H
#define HTTP_SITE_ROUTE_PRIVATE_H

#include <stdbool.h>

#include "engine/base/path_text.h"
#include "http/site/route.h"

enum route_mode { MODE_FILES, MODE_FRONT_CONTROLLER, MODE_FALLBACK, MODE_NEAREST };

struct router {
    enum route_mode mode;
    char index[PATH_TEXT_MAX]; /* "/index.php", or "" in MODE_FILES */
    bool index_runs;
    bool clean_urls;
    const char *document_root; /* as configured; the settings' */
    struct docroot *root;
    struct script_names *names;
    struct brief_cache *cache;
};

#endif
