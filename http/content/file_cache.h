/* Files that are served again and again: what their answers need is prepared once. Small ones are kept in
 * memory, others as open descriptors; both bounded. Any thread. A file is immutable once it is given out, but
 * for its compressed forms, which are added once each. */
#ifndef HTTP_CONTENT_FILE_CACHE_H
#define HTTP_CONTENT_FILE_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/str.h"
#include "http/content/compress.h"
#include "http/wire/http_date.h"

#define FILE_CODINGS  4 /* enum coding */
#define FILE_ETAG_MAX 64

/* One way to send a file's content. */
struct file_form {
    char *data; /* in memory; NULL: use the descriptor */
    int fd;
    uint64_t n;
    bool absent; /* looked at, and not worth having */
    char etag[FILE_ETAG_MAX];
    size_t etag_n;
};

/* What tells one state of a file from another. */
struct file_stamp {
    uint64_t device, inode, size;
    int64_t modified_s, modified_ns, changed_ns; /* changed: the inode, which nobody can set back */
};

struct file {
    atomic_int references;
    struct str path;   /* real path, NUL-terminated */
    struct str type;   /* Content-Type */
    struct str packed; /* Content-Encoding that the file's own bytes have (.svgz); STR_NONE: none */
    bool negotiable;   /* may leave in another coding: Vary */
    char last_modified[HTTP_DATE_N + 1];
    struct file_stamp stamps[FILE_CODINGS]; /* of the file and of its .gz, .br, .zst */
    struct file_form identity;
    _Atomic(struct file_form *) forms[FILE_CODINGS]; /* made once, freed with the file; [IDENTITY] unused */
    atomic_bool asked[FILE_CODINGS];                 /* helper_pool: this form is being made */
    atomic_bool kept;                                /* the cache has it */
    /* the cache's; its shard's lock guards them */
    uint64_t hash, checked_us;
    size_t memory;
    unsigned descriptors;
    struct file *chain, *newer, *older;
};

struct http_settings;
struct file_cache;

struct file_cache *file_cache_create(const struct http_settings *settings); /* NULL: out of memory */
void file_cache_destroy(struct file_cache *cache); /* files still in use live on until released */
/* A reference to the file, looked at within the last second; or NULL and errno (ENOENT, EACCES, ...). */
struct file *file_cache_get(struct file_cache *cache, struct str path, uint64_t now_us);
void file_release(struct file *file);
/* Adds a form in memory; takes data (malloc'ed; NULL: not worth having). Once per file and coding. */
void file_cache_add_form(struct file_cache *cache, struct file *file, enum coding coding, char *data,
                         size_t n);

/* All n bytes at offset, or false: the file is shorter now. */
bool file_read(int fd, char *p, size_t n, off_t offset);

#endif
