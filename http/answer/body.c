/* Request bodies. See the header. */
#include "http/answer/body.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/write_now.h"
#include "http/answer/temp_file.h"

static uint64_t memory_limit_all = UINT64_MAX,
                file_limit_all = UINT64_MAX; /* constant once there are loops */
static _Atomic uint64_t memory_all, files_all;

void http_body_limits(uint64_t memory, uint64_t files)
{
    memory_limit_all = memory;
    file_limit_all = files;
}

/* Takes n bytes of what all bodies may have together; false: there is not so much left. */
static bool take(_Atomic uint64_t *all, uint64_t limit, uint64_t n)
{
    if (atomic_fetch_add(all, n) + n > limit) {
        atomic_fetch_sub(all, n);
        return false;
    }
    return true;
}

void http_body_init(struct body *b)
{
    *b = (struct body){.fd = -1};
}

static int write_file(int fd, const char *p, size_t n)
{
    if (write_waiting(fd, p, n) == n) {
        return 0;
    }
    log_limited(LEVEL_ERROR, "cannot write a request body to its temporary file: %s", strerror(errno));
    return -1;
}

/* Into the file, which counts what it has. */
static int add_to_file(struct body *b, const char *p, size_t n)
{
    if (!take(&files_all, file_limit_all, n)) {
        log_limited(LEVEL_WARNING, "http: request bodies have all of http.body_files");
        errno = EDQUOT;
        return -1;
    }
    b->filed += n;
    return write_file(b->fd, p, n);
}

/* How large the memory becomes so that `need` bytes fit. */
static size_t next_size(const struct body *b, size_t need, int64_t expected, size_t memory_limit)
{
    size_t size = b->size ? b->size * 2 : 4096;
    if (expected > 0 && (uint64_t)expected <= memory_limit && b->size == 0) {
        /* What is announced may never come: reserve at once only what is usual. */
        size = (size_t)expected < 65536 ? (size_t)expected : 65536;
    }
    return size < need ? need : size;
}

/* 1: the bodies of this process have no more memory. */
static int grow(struct body *b, size_t need, int64_t expected, size_t memory_limit)
{
    if (need <= b->size) {
        return 0;
    }
    size_t size = next_size(b, need, expected, memory_limit);
    if (!take(&memory_all, memory_limit_all, size - b->size)) {
        return 1;
    }
    char *p = realloc(b->p, size);
    if (!p) {
        atomic_fetch_sub(&memory_all, size - b->size);
        return -1;
    }
    b->p = p;
    b->size = size;
    return 0;
}

static void free_memory(struct body *b)
{
    free(b->p);
    atomic_fetch_sub(&memory_all, b->size);
    b->p = NULL;
    b->n = b->size = 0;
}

static int move_to_file(struct body *b)
{
    b->fd = temp_file_open("a request body");
    if (b->fd < 0) {
        return -1;
    }
    int bad = b->n > 0 ? add_to_file(b, b->p, b->n) : 0;
    free_memory(b);
    return bad;
}

int http_body_add(struct body *b, const char *p, size_t n, int64_t expected, size_t memory_limit)
{
    int rc = b->fd >= 0 ? 1 : b->n + n > memory_limit ? 1 : grow(b, b->n + n, expected, memory_limit);
    if (rc < 0 || (rc > 0 && b->fd < 0 && move_to_file(b) != 0)) {
        return -1;
    }
    b->total += n;
    if (b->fd >= 0) {
        return add_to_file(b, p, n);
    }
    if (n > 0) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    }
    return 0;
}

ssize_t http_body_read(struct body *b, char *out, size_t n)
{
    if (b->fd < 0) {
        size_t left = b->n - (size_t)b->read;
        n = n < left ? n : left;
        if (n > 0) {
            memcpy(out, b->p + b->read, n);
        }
    } else {
        ssize_t got;
        do {
            got = pread(b->fd, out, n, (off_t)b->read);
        } while (got < 0 && errno == EINTR);
        if (got < 0) {
            return -1;
        }
        n = (size_t)got;
    }
    b->read += n;
    return (ssize_t)n;
}

void http_body_free(struct body *b)
{
    free_memory(b);
    if (b->fd >= 0) {
        close(b->fd);
        atomic_fetch_sub(&files_all, b->filed);
    }
    http_body_init(b);
}
