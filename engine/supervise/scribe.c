/* The threads that append to log files. See the header.
 *
 * They do nothing but poll(2), read(2) and write(2), and share the gate, which the supervisor's thread alone
 * closes: so nothing is held when it forks that an engine process would ever want. A thread has its
 * beginnings behind it, with what they take of an allocator's locks, before scribe_start() returns.
 *
 * A piece is read and written with the gate open in front of it, and is written in whole lines: processes
 * share files. A pipe is looked at again only after a moment, so that a busy pool costs a few hundred turns a
 * second and not one a line. */
#include "engine/supervise/scribe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"
#include "engine/base/write_now.h"

#define PIPE_BYTES  (256 << 10) /* what a process may be ahead */
#define PIECE_BYTES (32 << 10)
#define PIECES_MAX  64 /* behind one gate: an execution does not wait for a flood */
#define GATHER_MS   3
#define STUCK_MS    100 /* how long one look at a full target takes */

enum scribe_state { SCRIBE_AT_WORK, SCRIBE_LEFT, SCRIBE_DONE };

struct scribe {
    int fd, target;         /* constant */
    sem_t stands;           /* posted by the thread when it has begun */
    _Atomic int state;      /* enum scribe_state: who comes second, the owner or the thread, frees it */
    size_t n;               /* the thread's, as the rest */
    char text[PIECE_BYTES]; /* from the pipe, not yet written */
};

static pthread_rwlock_t gate = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP; /* see above */
static _Atomic unsigned left_behind;                                              /* SCRIBE_LEFT */
static _Atomic uint64_t lost;

int scribe_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        fds[0] = fds[1] = -1;
        return -1;
    }
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* as much as the system allows */
    return 0;
}

/* -- the thread -- */

static bool is_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static uint64_t count_lines(const char *p, size_t n)
{
    uint64_t lines = 0;
    for (const char *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) {
        lines++;
    }
    return lines;
}

/* What a pipe takes whole: lines up to PIPE_BUF bytes, or one line. */
static size_t part_size(const char *p, size_t n)
{
    const char *end = n > PIPE_BUF ? memrchr(p, '\n', PIPE_BUF) : p + n - 1;
    end = end ? end : memchr(p, '\n', n);
    return end ? (size_t)(end - p) + 1 : n;
}

/* For a reader of the log, as long as it takes. How much went out; the rest is an error. */
static size_t write_part(int fd, const char *p, size_t n)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    size_t at = 0;
    while (at < n) {
        size_t done = write_now(fd, p + at, n - at);
        at += done;
        if (done == 0 && errno != EAGAIN) {
            break;
        }
        if (at < n) {
            poll(&room, 1, STUCK_MS);
        }
    }
    return at;
}

static void write_text(struct scribe *s, size_t n)
{
    bool file = is_file(s->target);
    size_t at = 0;
    while (at < n) {
        size_t part = file ? n - at : part_size(s->text + at, n - at);
        size_t done =
            file ? write_waiting(s->target, s->text + at, part) : write_part(s->target, s->text + at, part);
        atomic_fetch_add(&lost, count_lines(s->text + at + done, part - done));
        at += part;
    }
    s->n -= n;
    memmove(s->text, s->text + n, s->n);
}

/* All of it, and whole lines as long as there is more to come. false: the pipe's end. */
static bool empty_pipe(struct scribe *s)
{
    ssize_t n = 1;
    int why = 0;
    for (int i = 0; i < PIECES_MAX && n > 0; i++) {
        n = read(s->fd, s->text + s->n, PIECE_BYTES - s->n);
        why = errno;
        s->n += n > 0 ? (size_t)n : 0;
        bool full = s->n == PIECE_BYTES;
        const char *end = full ? memrchr(s->text, '\n', s->n) : NULL;
        write_text(s, end ? (size_t)(end - s->text) + 1 : full || n <= 0 ? s->n : 0);
    }
    write_text(s, s->n);
    return n > 0 || (n < 0 && (why == EAGAIN || why == EINTR));
}

static void gather(void)
{
    const struct timespec moment = {.tv_nsec = GATHER_MS * 1000000L};
    nanosleep(&moment, NULL);
}

/* What pools log is not for the processes of others: an engine process, which is a copy of this one, does not
 * get it. NULL with errno. */
static struct scribe *make(void)
{
    struct scribe *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) {
        return NULL;
    }
    madvise(s, sizeof(*s), MADV_DONTFORK);
    return s;
}

static void unmake(struct scribe *s)
{
    munmap(s, sizeof(*s));
}

static void end(struct scribe *s, enum scribe_state as)
{
    if (atomic_exchange(&s->state, (int)as) != SCRIBE_AT_WORK) {
        atomic_fetch_sub(&left_behind, 1);
        close(s->fd);
        unmake(s);
    }
}

static void *scribe_main(void *arg)
{
    struct scribe *s = arg;
    struct pollfd news = {.fd = s->fd, .events = POLLIN};
    bool open = true;
    sem_post(&s->stands);
    while (open) {
        if (poll(&news, 1, -1) < 0 && errno != EINTR) {
            break;
        }
        pthread_rwlock_rdlock(&gate);
        open = empty_pipe(s);
        pthread_rwlock_unlock(&gate);
        if (open) {
            gather();
        }
    }
    end(s, SCRIBE_DONE);
    return NULL;
}

/* -- the supervisor's thread -- */

struct scribe *scribe_start(int fd, int target)
{
    struct scribe *s = make();
    pthread_t thread;
    if (!s) {
        return NULL;
    }
    s->fd = fd;
    s->target = target;
    sem_init(&s->stands, 0, 0);
    errno = thread_start(&thread, scribe_main, s);
    if (errno) {
        log_sys(LEVEL_ERROR, "no thread to write a log");
        unmake(s);
        return NULL;
    }
    pthread_detach(thread);
    while (sem_wait(&s->stands) != 0 && errno == EINTR) {
    }
    return s;
}

void scribe_leave(struct scribe *scribe)
{
    if (scribe) {
        atomic_fetch_add(&left_behind, 1);
        end(scribe, SCRIBE_LEFT);
    }
}

static void wait_left_behind(uint64_t until_us)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    while (atomic_load(&left_behind) > 0 && clock_us() < until_us) {
        nanosleep(&moment, NULL);
    }
}

static bool gate_closed; /* supervisor's thread */

void scribes_rest(unsigned wait_ms)
{
    uint64_t until_us = clock_us() + (uint64_t)wait_ms * 1000;
    struct timespec until = {.tv_sec = (time_t)(until_us / CLOCK_US_PER_SECOND),
                             .tv_nsec = (long)(until_us % CLOCK_US_PER_SECOND) * 1000};
    wait_left_behind(until_us);
    gate_closed = pthread_rwlock_clockwrlock(&gate, CLOCK_MONOTONIC, &until) == 0;
}

void scribes_go_on(void)
{
    if (gate_closed) {
        gate_closed = false;
        pthread_rwlock_unlock(&gate);
    }
}

void scribes_finish(unsigned wait_ms)
{
    wait_left_behind(clock_us() + (uint64_t)wait_ms * 1000);
}

uint64_t scribes_lost(void)
{
    return atomic_load(&lost);
}
