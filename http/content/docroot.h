/* The document root, and finding things below it without ever leaving it. Any thread. */
#ifndef HTTP_CONTENT_DOCROOT_H
#define HTTP_CONTENT_DOCROOT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct docroot;

/* The directory need not exist yet; it is looked at again about twice a second, so a deploy that moves a
 * symlink takes effect by itself. symlink_root: a directory that symlinks may lead to although it is not
 * below the root; NULL = none. NULL: out of memory. */
struct docroot *docroot_create(const char *path, bool follow_symlinks, const char *symlink_root);
void docroot_destroy(struct docroot *root);

enum docroot_kind {
    DOCROOT_NOTHING,   /* no such file */
    DOCROOT_UNKNOWN,   /* descriptors or memory have run out: nobody knows */
    DOCROOT_FILE,      /* a regular file */
    DOCROOT_DIRECTORY, /* a directory */
    DOCROOT_FORBIDDEN, /* outside the root, no permission, or neither file nor directory */
};

struct docroot_find {
    char real[PATH_MAX]; /* the real path: no symlink in it */
    char root[PATH_MAX]; /* the real path of the document root, at that moment */
};

/* path begins with '/', and is clean (path_name). */
enum docroot_kind docroot_find(struct docroot *root, const char *path, uint64_t now_us,
                               struct docroot_find *out);

/* Opens a regular file by its real path for reading, refusing symlinks at any level: what was found is what
 * is opened, or nothing. A descriptor or -1 with errno. */
int docroot_open_real(const char *real_path);

#endif
