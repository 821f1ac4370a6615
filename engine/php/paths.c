/* PHP's stat(), lstat() and access() in a process of threads.
 *
 * A thread-safe PHP keeps a working directory of its own for each thread, and brings every path into
 * canonical form, link by link, before it asks the kernel about it. A page that looks for three hundred files
 * spends a twentieth of its instructions on that. The kernel follows links itself, so it gets the path as it
 * is, as from php-fpm; only what is relative gets the thread's directory in front.
 *
 * The dynamic linker finds these first (as zend_set_timeout, timeout.c). Where it does not, PHP's run, and
 * all else works as well. Any thread that has PHP. */
#include "engine/php/paths.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* libphp does not export where a thread's virtual_cwd_globals are, but an array inside of them. */
cwd_state *paths_directory(void)
{
    return &((virtual_cwd_globals *)(void *)((char *)realpath_cache_get_buckets() -
                                             offsetof(virtual_cwd_globals, realpath_cache)))
                ->cwd;
}

/* The path from the root on, in `joined` if it was relative; NULL with errno if it cannot be one. Where the
 * thread has no directory (outside of a request, or PHP could not find out), the process's counts. */
static const char *from_root(const char *path, char joined[MAXPATHLEN])
{
    if (path[0] == '/') {
        return path;
    }
    const cwd_state *directory = paths_directory();
    size_t n = strlen(path);

    if (n == 0) {
        errno = ENOENT;
        return NULL;
    }
    if (!directory->cwd || directory->cwd_length == 0) {
        return path;
    }
    if (directory->cwd_length + 1 + n >= MAXPATHLEN) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(joined, directory->cwd, directory->cwd_length);
    joined[directory->cwd_length] = '/';
    memcpy(joined + directory->cwd_length + 1, path, n + 1);
    return joined;
}

int virtual_stat(const char *path, zend_stat_t *out)
{
    char joined[MAXPATHLEN];
    const char *whole = from_root(path, joined);

    return whole ? stat(whole, out) : -1;
}

int virtual_lstat(const char *path, zend_stat_t *out)
{
    char joined[MAXPATHLEN];
    const char *whole = from_root(path, joined);

    return whole ? lstat(whole, out) : -1;
}

int virtual_access(const char *path, int mode)
{
    char joined[MAXPATHLEN];
    const char *whole = from_root(path, joined);

    return whole ? access(whole, mode) : -1;
}
