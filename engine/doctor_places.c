/* The way to a pool's document root, walked with its user's rights: a process becomes that user, as an engine
 * process does, and asks the kernel, which knows of groups, lists and mounts. */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/str.h"
#include "engine/doctor_private.h"
#include "engine/supervise/identity.h"

enum place { PLACE_FINE, PLACE_SHUT, PLACE_UNREADABLE, PLACE_MISSING, PLACE_UNKNOWN };

/* What a walk came to, and where. */
struct walk {
    enum place place;
    char path[PATH_MAX];
};

static enum place look_at(const char *path, bool last)
{
    struct stat st;
    if (access(path, X_OK) == 0) {
        return !last || access(path, R_OK) == 0 ? PLACE_FINE : PLACE_UNREADABLE;
    }
    return errno == EACCES ? (stat(path, &st) == 0 && !S_ISDIR(st.st_mode) ? PLACE_MISSING : PLACE_SHUT)
                           : PLACE_MISSING;
}

/* From the root down, as far as it goes. */
static void go(const char *path, struct walk *out)
{
    size_t n = strlen(path);
    for (size_t i = 1; i <= n && out->place == PLACE_FINE; i++) {
        if (path[i] == '/' || path[i] == '\0') {
            snprintf(out->path, sizeof out->path, "%.*s", (int)i, path);
            out->place = look_at(out->path, path[i] == '\0');
        }
    }
}

static bool become(const struct identity *id)
{
    if (geteuid() != 0) {
        return true;
    }
    return (id->groups ? setgroups((size_t)id->group_count, id->groups) : setgroups(0, NULL)) == 0 &&
           (!id->gid || setgid(id->gid) == 0) && (!id->uid || setuid(id->uid) == 0);
}

static struct walk walk_as(const struct identity *id, const char *path)
{
    struct walk walk = {.place = PLACE_FINE};
    int ends[2];
    if (pipe(ends) != 0) {
        return (struct walk){.place = PLACE_UNKNOWN};
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (become(id)) {
            go(path, &walk);
        } else {
            walk.place = PLACE_UNKNOWN;
        }
        _exit(write(ends[1], &walk, sizeof walk) == sizeof walk ? 0 : 1);
    }
    close(ends[1]);
    if (pid < 0 || read(ends[0], &walk, sizeof walk) != sizeof walk) {
        walk.place = PLACE_UNKNOWN;
    }
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return walk;
}

static const char *name_of(const struct identity *id)
{
    const struct passwd *pw = getpwuid(id->uid ? id->uid : geteuid());
    return pw ? pw->pw_name : "the pool's user";
}

static void say(const struct pool_conf *pool, const struct identity *id, const struct walk *walk)
{
    struct stat st;
    unsigned mode = stat(walk->path, &st) == 0 ? st.st_mode & 07777 : 0;
    const char *user = name_of(id);
    switch (walk->place) {
    case PLACE_SHUT:
        doctor_found(pool,
                     "%s may not enter %s (mode %04o), so every page is 403 or 404: setfacl -m u:%s:x %s, "
                     "or chmod o+x %s",
                     user, walk->path, mode, user, walk->path, walk->path);
        break;
    case PLACE_UNREADABLE:
        doctor_found(pool, "%s may not read %s (mode %04o): setfacl -m u:%s:rx %s, or chmod o+rx %s", user,
                     walk->path, mode, user, walk->path, walk->path);
        break;
    case PLACE_MISSING:
        doctor_found(pool, "%s is no directory: http.document_root needs one", walk->path);
        break;
    case PLACE_FINE:
    case PLACE_UNKNOWN: break;
    }
}

void doctor_places(const struct config *config, const struct pool_conf *pool)
{
    const char *root = pool_setting_text(pool, "http.document_root");
    struct identity id = {0};
    if (!root || !*root || identity_resolve(pool, config->cli->allow_root, false, &id) != 0) {
        return;
    }
    char *path = xasprintf("%s%s", pool->s.chroot ? pool->s.chroot : "", root);
    struct walk walk = walk_as(&id, path);
    say(pool, &id, &walk);
    free(path);
    identity_free(&id);
}
