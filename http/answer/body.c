/* Request bodies. See the header. */
#include "http/answer/body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/write_now.h"

void http_body_init(struct body *b)
{
    *b = (struct body){.fd = -1};
}

static int open_file(void)
{
    const char *dir = getenv("TMPDIR");
    if (!dir || dir[0] != '/') {
        dir = "/tmp";
    }
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        char path[512];
        if ((size_t)snprintf(path, sizeof path, "%s/tokiophp-body-XXXXXX", dir) >= sizeof path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) {
            unlink(path);
        }
    }
    if (fd < 0) {
        log_limited(LEVEL_ERROR, "cannot make a temporary file for a request body in %s: %s", dir,
                    strerror(errno));
    }
    return fd;
}

static int write_file(int fd, const char *p, size_t n)
{
    if (write_waiting(fd, p, n) == n) {
        return 0;
    }
    log_limited(LEVEL_ERROR, "cannot write a request body to its temporary file: %s", strerror(errno));
    return -1;
}

static int grow(struct body *b, size_t need, int64_t expected, size_t memory_limit)
{
    if (need <= b->size) {
        return 0;
    }
    size_t size = b->size ? b->size * 2 : 4096;
    if (expected > 0 && (uint64_t)expected <= memory_limit && b->size == 0) {
        /* What is announced may never come: reserve at once only what is usual. */
        size = (size_t)expected < 65536 ? (size_t)expected : 65536;
    }
    if (size < need) {
        size = need;
    }
    char *p = realloc(b->p, size);
    if (!p) {
        return -1;
    }
    b->p = p;
    b->size = size;
    return 0;
}

static int move_to_file(struct body *b)
{
    b->fd = open_file();
    if (b->fd < 0) {
        return -1;
    }
    int bad = write_file(b->fd, b->p, b->n);
    free(b->p);
    b->p = NULL;
    b->n = b->size = 0;
    return bad;
}

int http_body_add(struct body *b, const char *p, size_t n, int64_t expected, size_t memory_limit)
{
    if (b->fd < 0 && b->n + n > memory_limit && move_to_file(b) != 0) {
        return -1;
    }
    b->total += n;
    if (b->fd >= 0) {
        return write_file(b->fd, p, n);
    }
    if (grow(b, b->n + n, expected, memory_limit) != 0) {
        return -1;
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
    free(b->p);
    if (b->fd >= 0) {
        close(b->fd);
    }
    http_body_init(b);
}
