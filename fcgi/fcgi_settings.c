/* php-fpm's listen.* keys: their rows, and what rows cannot check. Supervisor's thread, before any other
 * exists. */
#include "fcgi/fcgi_settings.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/base/str.h"
#include "engine/engine.h"

#define MODE_DEFAULT 0660

#define ROW(row_name, row_type, field)                                                                       \
    .name = row_name, .type = row_type, .offset = offsetof(struct fcgi_settings, field)

static const struct setting_row rows[] = {
    {ROW("listen", SETTING_STRING, listen), .reachable = true,
     .help = "FastCGI address: ip:port, [ipv6]:port, port, or the path of a unix socket"},
    {ROW("listen.backlog", SETTING_INT, backlog), .as_php_fpm = true, .initial = "-1",
     .help = "connections that may wait to be accepted; -1 = the kernel's maximum"},
#ifdef HAVE_ACL
    {ROW("listen.acl_users", SETTING_STRING, acl_users),
     .help = "users that may connect, by ACL; comma list"},
    {ROW("listen.acl_groups", SETTING_STRING, acl_groups),
     .help = "groups that may connect, by ACL; comma list"},
#endif
    {ROW("listen.owner", SETTING_STRING, owner), .help = "owner of the unix socket (name or number)"},
    {ROW("listen.group", SETTING_STRING, group), .help = "group of the unix socket (name or number)"},
    {ROW("listen.mode", SETTING_STRING, mode), .help = "mode of the unix socket (0660)"},
    {ROW("listen.allowed_clients", SETTING_STRING, allowed_clients),
     .help = "addresses that may connect over TCP; comma list"},
    {ROW("fastcgi.request_id_headers", SETTING_BOOL, request_id_headers), .initial = "no",
     .help = "X-Request-ID and traceparent in every FastCGI response"},
};

const struct setting_table fcgi_pool_table = {
    .scope = SCOPE_POOL,
    .rows = rows,
    .count = sizeof rows / sizeof *rows,
    .struct_size = sizeof(struct fcgi_settings),
};

struct fcgi_settings *fcgi_settings_of(const struct pool_conf *pool)
{
    return pool_frontend_settings(pool, "fcgi");
}

static bool is_path(const char *address)
{
    return address[0] == '/' || (!strchr(address, ':') && strspn(address, "0123456789") != strlen(address));
}

/* -- who may connect -- */

/* As php-fpm reads it: of what is too large the low 32 bits, and all of them set is nobody. */
static bool read_id(const char *name, uint32_t *id)
{
    bool is_number = name[strspn(name, "0123456789")] == '\0';

    *id = is_number ? (uint32_t)strtoul(name, NULL, 10) : 0;
    return is_number;
}

static int resolve_owner(const struct pool_conf *pool, const char *name, struct sock_options *options)
{
    if (read_id(name, &options->owner)) {
        return 0;
    }
    errno = 0; /* a name that nobody has is no error to getpwnam() */
    struct passwd *user = getpwnam(name);
    if (!user) {
        log_sys(LEVEL_ERROR, "[pool %s] cannot get uid for user '%s'", pool->name, name);
        return -1;
    }
    options->owner = user->pw_uid;
    options->group = user->pw_gid;
    return 0;
}

static int resolve_group(const struct pool_conf *pool, const char *name, struct sock_options *options)
{
    if (read_id(name, &options->group)) {
        return 0;
    }
    errno = 0;
    struct group *group = getgrnam(name);
    if (!group) {
        log_sys(LEVEL_ERROR, "[pool %s] cannot get gid for group '%s'", pool->name, name);
        return -1;
    }
    options->group = group->gr_gid;
    return 0;
}

static bool given(const char *text)
{
    return text && *text;
}

/* What php-fpm makes of it: the octal number that it begins with. */
static mode_t socket_mode(const struct pool_conf *pool, const char *text)
{
    char *end;
    mode_t mode = (mode_t)strtoul(text, &end, 8) & 0777;

    if (*end || end == text) {
        log_warning("[pool %s] listen.mode = '%s' is no octal number such as 0660; read as %04o", pool->name,
                    text, mode);
    }
    return mode;
}

static int complete_options(const struct pool_conf *pool, struct fcgi_settings *s)
{
    s->options = (struct sock_options){
        .backlog = (int)s->backlog,
        .owner = (uid_t)-1,
        .group = (gid_t)-1,
        .mode = given(s->mode) ? socket_mode(pool, s->mode) : MODE_DEFAULT,
    };
    if (given(s->acl_users) || given(s->acl_groups)) {
        s->options.acl_users = s->acl_users;
        s->options.acl_groups = s->acl_groups;
        if (given(s->owner)) {
            log_warning("[pool %s] ACL set, listen.owner = '%s' is ignored", pool->name, s->owner);
        }
        if (given(s->group)) {
            log_warning("[pool %s] ACL set, listen.group = '%s' is ignored", pool->name, s->group);
        }
        return 0;
    }
    if (given(s->owner) && resolve_owner(pool, s->owner, &s->options) < 0) {
        return -1;
    }
    return given(s->group) ? resolve_group(pool, s->group, &s->options) : 0;
}

/* -- the address -- */

/* A start cuts the path, as php-fpm does; a test of the configuration says that it is wrong. */
static int check_length(const struct config *config, const struct pool_conf *pool, const char *path)
{
    size_t n = strlen(path);

    if (n <= SOCK_PATH_MAX) {
        return 0;
    }
    if (config->cli->test) {
        log_error("[pool %s] cannot bind to UNIX socket '%s' as path is too long (found length: %zu, maximal "
                  "length: %d)",
                  pool->name, path, n, SOCK_PATH_MAX + 1);
        return -1;
    }
    log_warning("[pool %s] cannot bind to UNIX socket '%s' as path is too long (found length: %zu, maximal "
                "length: %d), trying cut socket path instead '%.*s'",
                pool->name, path, n, SOCK_PATH_MAX + 1, SOCK_PATH_MAX, path);
    return 0;
}

static int check_address(const struct config *config, const struct pool_conf *pool, char **address)
{
    if (!is_path(*address)) {
        return 0;
    }
    if (**address != '/') {
        const char *prefix = pool->s.prefix ? pool->s.prefix : config->cli->prefix;
        char *path = xasprintf("%s/%s", prefix ? prefix : TOKIOPHP_PREFIX, *address);
        free(*address);
        *address = path;
    }
    return check_length(config, pool, *address);
}

static int check_unique(const struct config *config, const struct pool_conf *pool, const char *address)
{
    for (const struct pool_conf *other = config->pools; other && other != pool; other = other->next) {
        const char *taken = fcgi_settings_of(other)->listen;
        if (taken && strcmp(taken, address) == 0) {
            log_error("[pool %s] unable to set listen address as it's already used in another pool '%s'",
                      pool->name, other->name);
            return -1;
        }
    }
    return 0;
}

static void check_backlog(const struct pool_conf *pool, struct fcgi_settings *s)
{
    if (pool->s.pm == PM_ONDEMAND && s->backlog < -1) {
        log_warning("[pool %s] listen.backlog(%" PRId64
                    ") was too low for the ondemand process manager. I updated it for you to %d.",
                    pool->name, s->backlog, -1);
        s->backlog = -1;
    }
}

int fcgi_settings_check(const struct config *config, struct pool_conf *pool)
{
    struct fcgi_settings *s = fcgi_settings_of(pool);

    check_backlog(pool, s);
    if (complete_options(pool, s) < 0) {
        return -1;
    }
    if (pool->s.status_listen && check_address(config, pool, &pool->s.status_listen) < 0) {
        return -1;
    }
    if (!given(s->listen)) {
        return 0; /* another front end's pool */
    }
    if (check_address(config, pool, &s->listen) < 0) {
        return -1;
    }
    return check_unique(config, pool, s->listen);
}
