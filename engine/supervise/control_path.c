/* The control socket's place when nobody has said one. See the header. */
#include "engine/supervise/control_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_NAME "control.sock"

static const char *absolute_folder(const char *variable)
{
    const char *value = getenv(variable);
    return value && value[0] == '/' ? value : NULL;
}

int control_default_path(char *path, size_t size)
{
    const char *ours = absolute_folder("RUNTIME_DIRECTORY");
    const char *users = absolute_folder("XDG_RUNTIME_DIR");
    const char *temporary = absolute_folder("TMPDIR");
    int n;
    if (ours) {
        n = snprintf(path, size, "%.*s/" SOCKET_NAME, (int)strcspn(ours, ":"), ours);
    } else if (geteuid() == 0) {
        n = snprintf(path, size, "/run/tokiophp/" SOCKET_NAME);
    } else if (users) {
        n = snprintf(path, size, "%s/tokiophp/" SOCKET_NAME, users);
    } else {
        n = snprintf(path, size, "%s/tokiophp-%u/" SOCKET_NAME, temporary ? temporary : "/tmp",
                     (unsigned)geteuid());
    }
    return n > 0 && (size_t)n < size ? 0 : -1;
}

/* In a folder that everybody may write to somebody else could have made ours first: it is used only if it is
 * a folder of this user's that nobody else may write to. */
int control_make_folder(const char *path)
{
    char folder[PATH_MAX];
    struct stat st;
    const char *name = strrchr(path, '/');
    int n = snprintf(folder, sizeof(folder), "%.*s", name ? (int)(name - path) : 0, path);
    if (n <= 0 || (size_t)n >= sizeof(folder)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (mkdir(folder, geteuid() == 0 ? 0755 : 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    if (lstat(folder, &st) != 0) {
        return -1;
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        errno = EPERM;
        return -1;
    }
    return 0;
}

void control_make_usual_folder(const char *path)
{
    char usual[PATH_MAX];
    if (control_default_path(usual, sizeof(usual)) != 0) {
        return;
    }
    size_t n = (size_t)(strrchr(usual, '/') - usual) + 1;
    if (strncmp(path, usual, n) == 0 && !strchr(path + n, '/')) {
        control_make_folder(usual); /* who wants to be there will say why it cannot */
    }
}
