/* The document root. The kernel does the checking: a path is opened with O_PATH (which has no side effects,
 * not even on a device) relative to the root's descriptor, by openat2() with RESOLVE_BENEATH where it can;
 * what came out is asked for its real name, and that name must lie under the root's. An absolute symlink that
 * leads back into the root is fine, so RESOLVE_BENEATH's "no" is asked again without it, and judged by the
 * name. The root's descriptor is shared by threads through a reference count, and replaced when the path
 * leads to another directory (a deploy moved the symlink). */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "http/content/docroot.h"

#define LOOK_AGAIN_US 400000

/* One directory that is or was the root. */
struct root_directory {
    atomic_int references;
    int fd;
    dev_t device;
    ino_t inode;
    size_t real_n; /* without a slash at the end; 0 for "/" */
    char real[PATH_MAX];
};

struct docroot {
    char *path;
    bool follow_symlinks;
    char *symlink_root;             /* its real path; NULL = none */
    pthread_mutex_t lock;           /* guards the two below */
    struct root_directory *current; /* NULL: there is none now */
    uint64_t looked_us;
};

struct docroot *docroot_create(const char *path, bool follow_symlinks, const char *symlink_root)
{
    struct docroot *root = calloc(1, sizeof(*root));
    if (root == NULL || (root->path = strdup(path)) == NULL) {
        free(root);
        return NULL;
    }
    root->follow_symlinks = follow_symlinks;
    root->symlink_root = symlink_root ? realpath(symlink_root, NULL) : NULL;
    pthread_mutex_init(&root->lock, NULL);
    return root;
}

static void directory_release(struct root_directory *directory)
{
    if (directory != NULL && atomic_fetch_sub(&directory->references, 1) == 1) {
        close(directory->fd);
        free(directory);
    }
}

void docroot_destroy(struct docroot *root)
{
    if (root != NULL) {
        directory_release(root->current);
        pthread_mutex_destroy(&root->lock);
        free(root->symlink_root);
        free(root->path);
        free(root);
    }
}

/* The name of what fd is, without symlinks: from /proc, or where that is missing (a chroot) from the path
 * that led to it. 0 or -1. */
static int real_name(int fd, const char *path, char out[PATH_MAX])
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n > 0) {
        out[n] = '\0';
        return out[0] == '/' ? 0 : -1;
    }
    struct stat opened, named;
    if (realpath(path, out) == NULL || fstat(fd, &opened) != 0 || stat(out, &named) != 0) {
        return -1;
    }
    return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino ? 0 : -1;
}

static struct root_directory *directory_open(const char *path)
{
    struct stat st;
    struct root_directory *directory = calloc(1, sizeof(*directory));
    if (directory == NULL) {
        return NULL;
    }
    directory->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory->fd < 0 || fstat(directory->fd, &st) != 0 ||
        real_name(directory->fd, path, directory->real) != 0) {
        if (directory->fd >= 0) {
            close(directory->fd);
        }
        free(directory);
        return NULL;
    }
    directory->device = st.st_dev;
    directory->inode = st.st_ino;
    directory->references = 1;
    directory->real_n = strlen(directory->real);
    if (directory->real_n == 1) {
        directory->real_n = 0;
    }
    return directory;
}

/* Lock held: is the current directory still what the path leads to? */
static void look_again(struct docroot *root)
{
    struct stat st;
    struct root_directory *now = root->current;
    if (now != NULL && stat(root->path, &st) == 0 && st.st_dev == now->device && st.st_ino == now->inode) {
        char real[PATH_MAX]; /* the same directory may have got another name */
        if (real_name(now->fd, root->path, real) == 0 && strcmp(real, now->real) == 0) {
            return;
        }
    }
    root->current = directory_open(root->path);
    directory_release(now);
}

static struct root_directory *directory_take(struct docroot *root, uint64_t now_us)
{
    pthread_mutex_lock(&root->lock);
    if (root->current == NULL || now_us - root->looked_us >= LOOK_AGAIN_US) {
        look_again(root);
        root->looked_us = now_us;
    }
    struct root_directory *directory = root->current;
    if (directory != NULL) {
        atomic_fetch_add(&directory->references, 1);
    }
    pthread_mutex_unlock(&root->lock);
    return directory;
}

static int open_beneath(int root_fd, const char *relative, uint64_t resolve)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve};
    return (int)syscall(SYS_openat2, root_fd, relative, &how, sizeof(how));
}

/* Opens the path for looking; *inside: the kernel vouches that it is under the root. */
static int open_path(const struct docroot *root, int root_fd, const char *relative, bool *inside)
{
    *inside = false;
    if (!root->follow_symlinks) {
        int fd = open_beneath(root_fd, relative, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
        if (fd >= 0 || (errno != EXDEV && errno != ENOSYS && errno != EAGAIN && errno != EPERM)) {
            *inside = fd >= 0;
            return fd;
        }
    }
    return openat(root_fd, relative, O_PATH | O_CLOEXEC);
}

static bool name_is_under(const char *real, const char *directory, size_t n)
{
    return strncmp(real, directory, n) == 0 && (real[n] == '/' || real[n] == '\0');
}

static bool may_lead_to(const struct docroot *root, const struct root_directory *directory, const char *real,
                        const char *path)
{
    if (root->follow_symlinks || name_is_under(real, directory->real, directory->real_n) ||
        (root->symlink_root && name_is_under(real, root->symlink_root, strlen(root->symlink_root)))) {
        return true;
    }
    log_limited(LEVEL_NOTICE,
                "%s%s is a symbolic link to %s, outside of the document root: 403 "
                "(http.follow_symlinks = yes would allow it)",
                directory->real, path, real);
    return false;
}

static enum docroot_kind judge(const struct docroot *root, const struct root_directory *directory, int fd,
                               bool inside, const char *path, struct docroot_find *out)
{
    struct stat st;
    char joined[2 * PATH_MAX];
    snprintf(joined, sizeof(joined), "%.*s%s", (int)directory->real_n, directory->real, path);
    if (fstat(fd, &st) != 0 || real_name(fd, joined, out->real) != 0) {
        return DOCROOT_FORBIDDEN;
    }
    if (!inside && !may_lead_to(root, directory, out->real, path)) {
        return DOCROOT_FORBIDDEN;
    }
    memcpy(out->root, directory->real, strlen(directory->real) + 1);
    if (S_ISDIR(st.st_mode)) {
        return DOCROOT_DIRECTORY;
    }
    return S_ISREG(st.st_mode) && st.st_nlink > 0 ? DOCROOT_FILE : DOCROOT_FORBIDDEN;
}

static enum docroot_kind kind_of_failure(void)
{
    return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? DOCROOT_UNKNOWN : DOCROOT_NOTHING;
}

enum docroot_kind docroot_find(struct docroot *root, const char *path, uint64_t now_us,
                               struct docroot_find *out)
{
    struct root_directory *directory = directory_take(root, now_us);
    if (directory == NULL) {
        return kind_of_failure();
    }
    bool inside;
    int fd = open_path(root, directory->fd, path[1] == '\0' ? "." : path + 1, &inside);
    enum docroot_kind kind;
    if (fd >= 0) {
        kind = judge(root, directory, fd, inside, path, out);
        close(fd);
    } else if (errno == EACCES || errno == ELOOP || errno == EPERM) {
        kind = DOCROOT_FORBIDDEN;
    } else {
        kind = kind_of_failure();
    }
    directory_release(directory);
    return kind;
}

int docroot_open_real(const char *real_path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, real_path, &how, sizeof(how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) { /* an old kernel, or a sandbox without openat2 */
        fd = open(real_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    }
    return fd;
}
