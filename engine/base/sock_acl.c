/* Access control lists on unix sockets through libacl. Supervisor's thread; the list lives inside one call.
 */
#include "engine/base/sock_acl.h"

#include <stdio.h>

#ifdef HAVE_ACL

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/types.h>

#include "engine/base/str.h"

/* A user's or group's number from its name, or from the number itself. */
static int resolve(acl_tag_t tag, const char *name, id_t *id)
{
    uint64_t number;

    if (str_to_u64(str_of(name), &number) && number < (id_t)-1) {
        *id = (id_t)number;
        return 0;
    }
    if (tag == ACL_USER) {
        struct passwd *user = getpwnam(name);
        *id = user ? user->pw_uid : 0;
        return user ? 0 : -1;
    }
    struct group *group = getgrnam(name);
    *id = group ? group->gr_gid : 0;
    return group ? 0 : -1;
}

static int add_entry(acl_t *acl, acl_tag_t tag, id_t id)
{
    acl_entry_t entry;
    acl_permset_t permissions;

    return acl_create_entry(acl, &entry) == 0 && acl_set_tag_type(entry, tag) == 0 &&
                   acl_set_qualifier(entry, &id) == 0 && acl_get_permset(entry, &permissions) == 0 &&
                   acl_clear_perms(permissions) == 0 && acl_add_perm(permissions, ACL_READ) == 0 &&
                   acl_add_perm(permissions, ACL_WRITE) == 0
               ? 0
               : -1;
}

static int add_names(acl_t *acl, acl_tag_t tag, const char *names, const char *path, char *error,
                     size_t error_size)
{
    struct str rest = str_of(names), piece;
    char name[256];

    while (str_split(&rest, ',', &piece)) {
        piece = str_trim(piece);
        if (piece.n == 0) {
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)piece.n, piece.p);
        id_t id;
        if (resolve(tag, name, &id) < 0) {
            snprintf(error, error_size, "cannot get %s for %s '%s'", tag == ACL_USER ? "uid" : "gid",
                     tag == ACL_USER ? "user" : "group", name);
            return -1;
        }
        if (add_entry(acl, tag, id) < 0) {
            snprintf(error, error_size, "failed to add '%s' to the ACL of the socket '%s': %s (%d)", name,
                     path, strerror(errno), errno);
            return -1;
        }
    }
    return 0;
}

int sock_acl_grant(const char *path, const char *users, const char *groups, char *error, size_t error_size)
{
    acl_t acl = acl_get_file(path, ACL_TYPE_ACCESS);
    int result = -1;

    if (!acl) {
        snprintf(error, error_size, "failed to get the ACL of the socket '%s': %s (%d)", path,
                 strerror(errno), errno);
        return -1;
    }
    if (add_names(&acl, ACL_USER, users, path, error, error_size) == 0 &&
        add_names(&acl, ACL_GROUP, groups, path, error, error_size) == 0) {
        if (acl_calc_mask(&acl) == 0 && acl_valid(acl) == 0 &&
            acl_set_file(path, ACL_TYPE_ACCESS, acl) == 0) {
            result = 0;
        } else {
            snprintf(error, error_size, "failed to set the ACL of the socket '%s': %s (%d)", path,
                     strerror(errno), errno);
        }
    }
    acl_free(acl);
    return result;
}

#else

int sock_acl_grant(const char *path, const char *users, const char *groups, char *error, size_t error_size)
{
    (void)users;
    (void)groups;
    snprintf(error, error_size, "cannot set an ACL on the socket '%s': built without libacl", path);
    return -1;
}

#endif
