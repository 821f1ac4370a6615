/* Which files we have record locks on. See the header.
 *
 * What is noted may be older than the truth, if locks went by a close that nobody told us of; so whoever
 * wants to keep a descriptor open asks the kernel first. More files or ranges than there is room for are as
 * the kernel has them; of a file that has more descriptors than that the locks are taken again at once. */
#include "engine/php/record_locks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MOST  64
#define RANGES_MOST 24
#define KEPT_MOST   128 /* descriptors of one file */
#define END_OF_ALL  INT64_MAX

struct range {
    int64_t from, to; /* to: behind its last byte */
    int by;           /* the descriptor */
    short type;       /* F_RDLCK, F_WRLCK */
};

struct kept {
    int fd;
    FILE *stream; /* NULL = it is a bare descriptor */
};

struct locked {
    dev_t device;
    ino_t inode;
    unsigned ranges_n, kept_n;
    struct range ranges[RANGES_MOST];
    struct kept kept[KEPT_MOST];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that follows */
static struct locked files[FILES_MOST];
static _Atomic pid_t owner; /* who has had any, 0 = nobody; a child has none of these locks */
static unsigned files_n;

static bool is_child(void)
{
    return owner && owner != (pid_t)syscall(SYS_getpid);
}

/* -- with the mutex held -- */

static struct locked *find(const struct stat *st)
{
    for (unsigned i = 0; i < files_n; i++) {
        if (files[i].inode == st->st_ino && files[i].device == st->st_dev) {
            return &files[i];
        }
    }
    return NULL;
}

static struct locked *find_or_add(const struct stat *st)
{
    struct locked *f = find(st);

    if (!f && files_n < FILES_MOST) {
        owner = (pid_t)syscall(SYS_getpid);
        f = &files[files_n];
        f->device = st->st_dev;
        f->inode = st->st_ino;
        f->ranges_n = f->kept_n = 0;
        files_n++;
    }
    return f;
}

static void add_range(struct locked *f, int64_t from, int64_t to, const struct range *like)
{
    if (from < to && f->ranges_n < RANGES_MOST) {
        f->ranges[f->ranges_n++] = (struct range){from, to, like->by, like->type};
    }
}

static void take_range(struct locked *f, int64_t from, int64_t to)
{
    unsigned n = f->ranges_n;
    struct range before[RANGES_MOST];

    memcpy(before, f->ranges, n * sizeof *before);
    f->ranges_n = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct range *r = &before[i];

        if (r->to <= from || r->from >= to) {
            add_range(f, r->from, r->to, r);
        } else {
            add_range(f, r->from, from < r->to ? from : r->to, r);
            add_range(f, to > r->from ? to : r->from, r->to, r);
        }
    }
}

static struct flock on(const struct range *r, short type)
{
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = r->from,
                          .l_len = r->to == END_OF_ALL ? 0 : r->to - r->from};
}

/* Those of this descriptor go by its close, as they always do. */
static void give_back(struct locked *f, int by)
{
    unsigned left = 0;

    for (unsigned i = 0; i < f->ranges_n; i++) {
        const struct range *r = &f->ranges[i];

        if (r->by != by) {
            f->ranges[left++] = *r;
            continue;
        }
        struct flock none = on(r, F_UNLCK);

        syscall(SYS_fcntl, by, F_SETLK, &none);
    }
    f->ranges_n = left;
}

/* A lock of an open file description meets those of every process, of its own, too. */
static bool is_true(const struct locked *f, int fd)
{
    for (unsigned i = 0; i < f->ranges_n; i++) {
        struct flock asked = on(&f->ranges[i], F_WRLCK);

        if (syscall(SYS_fcntl, fd, F_OFD_GETLK, &asked) != 0 || asked.l_type != F_UNLCK) {
            return true;
        }
    }
    return false;
}

/* The file has no locks any more. What was kept of it is the caller's. */
static unsigned forget(struct locked *f, struct kept *kept)
{
    unsigned n = f->kept_n;

    memcpy(kept, f->kept, n * sizeof *kept);
    *f = files[files_n - 1];
    files_n--;
    return n;
}

static bool note(const struct stat *st, int fd, const struct flock *asked, struct kept *kept,
                 unsigned *kept_n)
{
    int64_t base = asked->l_whence == SEEK_END   ? st->st_size
                   : asked->l_whence == SEEK_CUR ? lseek(fd, 0, SEEK_CUR)
                                                 : 0;
    int64_t from = base + asked->l_start, to = asked->l_len == 0 ? END_OF_ALL : from + asked->l_len;
    struct locked *f = asked->l_type == F_UNLCK ? find(st) : find_or_add(st);

    if (!f) {
        return false;
    }
    take_range(f, from < to ? from : to, from < to ? to : from);
    if (asked->l_type != F_UNLCK) {
        add_range(f, from < to ? from : to, from < to ? to : from,
                  &(struct range){.by = fd, .type = asked->l_type});
    }
    if (f->ranges_n == 0) {
        *kept_n = forget(f, kept);
    }
    return true;
}

/* -- any thread -- */

static void close_kept(const struct kept *kept, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (kept[i].stream) {
            fclose(kept[i].stream);
        } else {
            close(kept[i].fd);
        }
    }
}

/* Takes the mutex and leaves it taken. One may wait for a lock as long as it likes, without the mutex; but
 * who closes the file just then knows of no lock, and takes it along. So it is asked for once more. */
static int take_lock(int fd, int command, struct flock *asked, int (*fcntl_of_libc)(int, int, ...))
{
    for (;;) {
        int waited = command == F_SETLKW ? fcntl_of_libc(fd, F_SETLKW, asked) : 0;

        pthread_mutex_lock(&lock);
        int result = waited == 0 ? fcntl_of_libc(fd, F_SETLK, asked) : waited;

        if (command == F_SETLK || waited != 0 || result == 0 || (errno != EAGAIN && errno != EACCES)) {
            return result;
        }
        pthread_mutex_unlock(&lock); /* it is somebody else's already */
    }
}

int record_locks_fcntl(int fd, int command, void *argument, int (*fcntl_of_libc)(int, int, ...))
{
    struct kept kept[KEPT_MOST];
    unsigned kept_n = 0;
    struct stat st;

    if ((command != F_SETLK && command != F_SETLKW) || !argument || is_child() || fstat(fd, &st) != 0 ||
        st.st_nlink == 0) { /* one without a name (OPcache's) is nobody else's to open */
        return fcntl_of_libc(fd, command, argument);
    }
    int result = take_lock(fd, command, argument, fcntl_of_libc);

    if (result == 0) {
        note(&st, fd, argument, kept, &kept_n);
    }
    pthread_mutex_unlock(&lock);
    close_kept(kept, kept_n);
    return result;
}

/* libc's own. */
struct way {
    int (*close)(int);
    int (*fclose)(FILE *);
};

static int really_close(int fd, FILE *stream, const struct way *way)
{
    return stream ? way->fclose(stream) : way->close(fd);
}

/* With the mutex held: the kernel has just taken all of them. */
static void lock_again(const struct locked *f)
{
    struct stat now;

    for (unsigned i = 0; i < f->ranges_n; i++) {
        const struct range *r = &f->ranges[i];
        struct flock asked = on(r, r->type);

        if (fstat(r->by, &now) == 0 && now.st_ino == f->inode && now.st_dev == f->device) {
            syscall(SYS_fcntl, r->by, F_SETLK, &asked);
        }
    }
}

/* With the mutex held, for nobody may take a lock between the look and the close. */
static int keep_or_close(int fd, FILE *stream, const struct way *way, struct locked *f)
{
    if (f->kept_n < KEPT_MOST) {
        flock(fd, LOCK_UN);
        f->kept[f->kept_n++] = (struct kept){fd, stream};
        return 0;
    }
    int result = really_close(fd, stream, way), error = errno;

    lock_again(f);
    errno = error;
    return result;
}

/* Of a file without locks. The mutex is not held meanwhile: a network that does not answer would keep
 * everybody else from closing anything. So whoever has just got a lock there gets it once more. */
static int close_free(int fd, FILE *stream, const struct way *way, const struct stat *st)
{
    int result = really_close(fd, stream, way), error = errno;

    pthread_mutex_lock(&lock);
    const struct locked *f = find(st);

    if (f) {
        lock_again(f);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static int close_one(int fd, FILE *stream, const struct way *way)
{
    struct kept kept[KEPT_MOST];
    unsigned kept_n = 0;
    int result = 0, error = 0;
    struct stat st;

    if (fd < 0 || is_child() || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return really_close(fd, stream, way);
    }
    pthread_mutex_lock(&lock);
    struct locked *f = find(&st);

    if (f) {
        give_back(f, fd);
        if (f->ranges_n == 0 || !is_true(f, fd)) {
            kept_n = forget(f, kept);
            f = NULL;
        }
    }
    if (f) {
        result = keep_or_close(fd, stream, way, f);
        error = errno;
    }
    pthread_mutex_unlock(&lock);
    close_kept(kept, kept_n);
    errno = error;
    return f ? result : close_free(fd, stream, way, &st);
}

int record_locks_close(int fd, int (*close_of_libc)(int))
{
    return owner ? close_one(fd, NULL, &(struct way){.close = close_of_libc}) : close_of_libc(fd);
}

int record_locks_fclose(FILE *stream, int (*fclose_of_libc)(FILE *))
{
    if (!owner || !stream) {
        return fclose_of_libc(stream);
    }
    int failed = fflush(stream);
    int result = close_one(fileno(stream), stream, &(struct way){.fclose = fclose_of_libc});

    return failed ? failed : result;
}
