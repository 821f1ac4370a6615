/* Answers that wait for slow clients. See the header. One thread at a time writes a spool. */
#include "http/answer/spool.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "http/answer/temp_file.h"

static uint64_t all_limit = UINT64_MAX; /* constant once there are loops */
static _Atomic uint64_t all;

void spool_limit(uint64_t bytes)
{
    all_limit = bytes;
}

static bool grow(struct spool *spool, uint64_t end)
{
    uint64_t more = end > spool->size ? end - spool->size : 0;
    if (atomic_fetch_add(&all, more) + more > all_limit) {
        atomic_fetch_sub(&all, more);
        log_limited(LEVEL_WARNING,
                    "http: answers that wait for slow clients have all of http.response_files");
        return false;
    }
    spool->size += more;
    return true;
}

static bool write_parts(int fd, const struct iovec *v, int count, uint64_t at)
{
    for (int i = 0; i < count; i++) {
        const char *p = v[i].iov_base;
        for (size_t done = 0; done < v[i].iov_len;) {
            ssize_t n = pwrite(fd, p + done, v[i].iov_len - done, (off_t)at);
            if (n <= 0 && errno != EINTR) {
                log_limited(LEVEL_ERROR, "http: an answer cannot be written to its temporary file: %s",
                            strerror(errno));
                return false;
            }
            done += n > 0 ? (size_t)n : 0;
            at += n > 0 ? (uint64_t)n : 0;
        }
    }
    return true;
}

bool spool_add(struct spool *spool, const struct iovec *v, int count, size_t n, uint64_t limit, off_t *at)
{
    if (n > limit || spool->end > limit - n) {
        return false;
    }
    if (spool->fd_and_one == 0) {
        spool->fd_and_one = temp_file_open("an answer") + 1;
    }
    if (spool->fd_and_one == 0 || !grow(spool, spool->end + n) ||
        !write_parts(spool_fd(spool), v, count, spool->end)) {
        return false;
    }
    *at = (off_t)spool->end;
    spool->end += n;
    return true;
}

void spool_rewind(struct spool *spool)
{
    spool->end = 0;
}

void spool_free(struct spool *spool)
{
    if (spool->fd_and_one) {
        close(spool_fd(spool));
        atomic_fetch_sub(&all, spool->size);
    }
    *spool = (struct spool){0};
}

int spool_fd(const struct spool *spool)
{
    return spool->fd_and_one - 1;
}
