/* The settings of the FastCGI front end, one struct per pool. Read-only after the start. */
#ifndef FCGI_FCGI_SETTINGS_H
#define FCGI_FCGI_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/settings.h"
#include "engine/base/sock.h"
#include "engine/engine_settings.h"

struct fcgi_settings {
    char *listen; /* listen: address; a unix socket's path is absolute once checked */
    int64_t backlog;
    char *owner, *group; /* listen.owner, listen.group: names or numbers */
    char *mode;          /* listen.mode: octal, as written; NULL = 0660 */
    char *acl_users, *acl_groups;
    char *allowed_clients; /* comma list of addresses; NULL = any */
    bool request_id_headers;
    /* Completed by fcgi_settings_check(). */
    struct sock_options options; /* of `listen` and, where pm.status_listen is set, of that */
};

extern const struct setting_table fcgi_pool_table;

/* The struct of this pool. */
struct fcgi_settings *fcgi_settings_of(const struct pool_conf *pool);
/* The front end's check(): 0, or -1 (reported in php-fpm's wording). Completes the struct. */
int fcgi_settings_check(const struct config *config, struct pool_conf *pool);

#endif
