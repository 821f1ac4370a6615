/* Rings of text and the thread that empties them into a file.
 *
 * A ring has one producer at a time (the thread that took it) and one consumer (the writer): head belongs to
 * the producer, tail to the writer, and neither waits for the other. Only whole lines become visible. Rings
 * of threads that have ended are taken by new threads; they are freed with the writer.
 *
 * The writer sleeps on an eventfd while there is nothing: `sleeping` tells producers that it wants to be
 * woken, so a busy server makes no system call for it. A pipe or a socket that nobody reads is waited for
 * with poll(); it gets pieces that it takes whole (PIPE_BUF), so lines of several processes do not mix. */
#include "engine/telemetry/log_writer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/thread.h"

#define STAGE_BYTES (64u << 10)
#define GATHER_MS   5   /* lines that come so soon after each other leave together */
#define STUCK_MS    100 /* how long one look at a full pipe takes */

struct ring {
    _Alignas(64) _Atomic uint64_t head; /* producer */
    _Atomic uint64_t dropped;           /* producer */
    _Alignas(64) _Atomic uint64_t tail; /* writer */
    struct ring *next;                  /* set before it is published */
    _Atomic bool taken;
    char data[LOG_WRITER_RING];
};

struct log_writer {
    const _Atomic int *fd;
    const char *name;
    void (*dropped)(void *ctx, uint64_t lines);
    void *ctx;
    pthread_t thread;
    pthread_key_t key; /* a thread's ring; given back at its end */
    int wake_fd;
    _Atomic(struct ring *) rings;
    _Atomic bool sleeping, stopping;
    _Atomic bool gathering; /* asleep for a moment; to be woken by a ring that is half full */
    _Atomic uint64_t stop_at_us;
    _Atomic uint64_t homeless; /* lines of threads that have no ring */
    /* writer's thread */
    uint64_t lost;          /* lines that could not be written */
    uint64_t counted, told; /* dropped lines that were counted, and that were logged */
    size_t stage_n;
    char stage[STAGE_BYTES];
};

/* -- producers -- */

static void give_back(void *ring)
{
    atomic_store_explicit(&((struct ring *)ring)->taken, false, memory_order_release);
}

static struct ring *free_ring(struct log_writer *w)
{
    for (struct ring *r = atomic_load(&w->rings); r; r = r->next) {
        bool taken = false;

        if (atomic_compare_exchange_strong(&r->taken, &taken, true)) {
            return r;
        }
    }
    return NULL;
}

static struct ring *new_ring(struct log_writer *w)
{
    struct ring *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (r == MAP_FAILED) {
        return NULL;
    }
    atomic_store(&r->taken, true);
    r->next = atomic_load(&w->rings);
    while (!atomic_compare_exchange_weak(&w->rings, &r->next, r)) {
    }
    return r;
}

static struct ring *own_ring(struct log_writer *w)
{
    struct ring *r = pthread_getspecific(w->key);

    if (r) {
        return r;
    }
    r = free_ring(w);
    r = r ? r : new_ring(w);
    if (r && pthread_setspecific(w->key, r) != 0) {
        give_back(r);
        r = NULL;
    }
    return r;
}

static void wake(struct log_writer *w)
{
    uint64_t one = 1;

    if (write(w->wake_fd, &one, sizeof(one)) < 0) {
        /* the counter is full: it is awake */
    }
}

bool log_writer_put(struct log_writer *w, const char *text, size_t n)
{
    struct ring *r = own_ring(w);

    if (!r) {
        atomic_fetch_add(&w->homeless, 1);
        return false;
    }
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint64_t used = head - atomic_load_explicit(&r->tail, memory_order_acquire);

    if (n > LOG_WRITER_LINE || n > LOG_WRITER_RING - used) {
        atomic_store_explicit(&r->dropped, atomic_load_explicit(&r->dropped, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        return false;
    }
    size_t at = head % LOG_WRITER_RING;
    size_t first = n < LOG_WRITER_RING - at ? n : LOG_WRITER_RING - at;

    memcpy(r->data + at, text, first);
    if (first < n) {
        memcpy(r->data, text + first, n - first);
    }
    atomic_store(&r->head, head + n); /* before the look at `sleeping`, in everybody's eyes */
    if (atomic_load(&w->sleeping) && atomic_exchange(&w->sleeping, false)) {
        wake(w);
    }
    if (used + n > LOG_WRITER_RING / 2 && atomic_load_explicit(&w->gathering, memory_order_relaxed) &&
        atomic_exchange(&w->gathering, false)) {
        wake(w);
    }
    return true;
}

/* -- the writer -- */

static size_t count_lines(const char *p, size_t n)
{
    size_t lines = 0;

    for (const char *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) {
        lines++;
    }
    return lines;
}

static void copy_out(const struct ring *r, uint64_t from, char *out, size_t n)
{
    size_t at = from % LOG_WRITER_RING;
    size_t first = n < LOG_WRITER_RING - at ? n : LOG_WRITER_RING - at;

    memcpy(out, r->data + at, first);
    memcpy(out + first, r->data, n - first);
}

/* As many whole lines as have room on the stage. */
static void take_lines(struct log_writer *w, struct ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t n = (size_t)(atomic_load(&r->head) - tail);
    size_t room = STAGE_BYTES - w->stage_n;
    bool cut = n > room;

    n = cut ? room : n;
    copy_out(r, tail, w->stage + w->stage_n, n);
    while (cut && n > 0 && w->stage[w->stage_n + n - 1] != '\n') {
        n--;
    }
    w->stage_n += n;
    atomic_store_explicit(&r->tail, tail + n, memory_order_release);
}

static void fill_stage(struct log_writer *w)
{
    for (struct ring *r = atomic_load(&w->rings); r; r = r->next) {
        take_lines(w, r);
    }
}

static bool anything(const struct log_writer *w)
{
    for (struct ring *r = atomic_load(&w->rings); r; r = r->next) {
        if (atomic_load(&r->head) != atomic_load_explicit(&r->tail, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static void count_dropped(struct log_writer *w)
{
    uint64_t all = w->lost + atomic_load(&w->homeless);

    for (struct ring *r = atomic_load(&w->rings); r; r = r->next) {
        all += atomic_load_explicit(&r->dropped, memory_order_relaxed);
    }
    if (all > w->counted && w->dropped) {
        w->dropped(w->ctx, all - w->counted);
    }
    w->counted = all;
}

/* One line a stall, once it is over. */
static void tell_dropped(struct log_writer *w)
{
    count_dropped(w);
    if (w->counted > w->told) {
        log_warning("%s: %llu lines did not fit and were dropped", w->name,
                    (unsigned long long)(w->counted - w->told));
        w->told = w->counted;
    }
}

static bool out_of_time(const struct log_writer *w)
{
    return atomic_load(&w->stopping) && clock_us() >= atomic_load(&w->stop_at_us);
}

/* Until it takes something; false: out of time. */
static bool wait_writable(struct log_writer *w, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    while (poll(&p, 1, out_of_time(w) ? 0 : STUCK_MS) <= 0) {
        count_dropped(w);
        if (out_of_time(w)) {
            return false;
        }
    }
    return true;
}

/* What a pipe takes whole: lines up to PIPE_BUF bytes, or one line. */
static size_t piece_size(const char *p, size_t n)
{
    const char *end = n > PIPE_BUF ? memrchr(p, '\n', PIPE_BUF) : p + n - 1;

    end = end ? end : memchr(p, '\n', n);
    return end ? (size_t)(end - p) + 1 : n;
}

static bool is_file(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* How many of the n bytes were written; the rest is lost. */
static size_t write_piece(struct log_writer *w, const char *p, size_t n, bool file)
{
    size_t at = 0;

    while (at < n) {
        int fd = atomic_load(w->fd);

        if (!file && !wait_writable(w, fd)) {
            break;
        }
        ssize_t done = write(fd, p + at, n - at);

        if (done < 0 && errno != EINTR && errno != EAGAIN) {
            log_limited(LEVEL_WARNING, "%s: cannot write: %s", w->name, strerror(errno));
            break;
        }
        at += done > 0 ? (size_t)done : 0;
    }
    return at;
}

static void write_stage(struct log_writer *w)
{
    bool file = is_file(atomic_load(w->fd));
    size_t at = 0;

    while (at < w->stage_n) {
        size_t n = file ? w->stage_n - at : piece_size(w->stage + at, w->stage_n - at);

        size_t done = write_piece(w, w->stage + at, n, file);

        w->lost += count_lines(w->stage + at + done, n - done);
        at += n;
    }
    w->stage_n = 0;
}

static void rest(struct log_writer *w)
{
    struct pollfd p = {.fd = w->wake_fd, .events = POLLIN};
    uint64_t count;

    atomic_store(&w->sleeping, true);
    if (!anything(w) && !atomic_load(&w->stopping)) {
        poll(&p, 1, -1);
    }
    atomic_store(&w->sleeping, false);
    if (read(w->wake_fd, &count, sizeof(count)) < 0) {
        /* nobody had to wake us */
    }
}

/* A write() for each line would cost more than the line. */
static void gather(struct log_writer *w)
{
    struct pollfd p = {.fd = w->wake_fd, .events = POLLIN};
    uint64_t count;

    atomic_store(&w->gathering, true);
    if (!atomic_load(&w->stopping) && poll(&p, 1, GATHER_MS) > 0 &&
        read(w->wake_fd, &count, sizeof(count)) < 0) {
        /* somebody else's wake-up is as good */
    }
    atomic_store(&w->gathering, false);
}

static void *writer_main(void *arg)
{
    struct log_writer *w = arg;

    log_as_server = true;
    pthread_setname_np(pthread_self(), "log-writer");
    for (;;) {
        fill_stage(w);
        if (w->stage_n > 0) {
            write_stage(w);
            if (!anything(w)) {
                tell_dropped(w);
                gather(w);
            }
        } else if (atomic_load(&w->stopping)) {
            break;
        } else {
            tell_dropped(w);
            rest(w);
        }
    }
    tell_dropped(w);
    return NULL;
}

/* -- life -- */

struct log_writer *log_writer_create(const _Atomic int *fd, const char *name,
                                     void (*dropped)(void *ctx, uint64_t lines), void *ctx)
{
    struct log_writer *w = calloc(1, sizeof(*w));

    if (!w) {
        return NULL;
    }
    w->fd = fd;
    w->name = name;
    w->dropped = dropped;
    w->ctx = ctx;
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0 || pthread_key_create(&w->key, give_back) != 0) {
        free(w);
        return NULL;
    }
    errno = thread_start(&w->thread, writer_main, w);
    if (errno) {
        pthread_key_delete(w->key);
        close(w->wake_fd);
        free(w);
        return NULL;
    }
    return w;
}

void log_writer_stop(struct log_writer *w, unsigned wait_ms)
{
    atomic_store(&w->stop_at_us, clock_us() + (uint64_t)wait_ms * 1000);
    atomic_store(&w->stopping, true);
    wake(w);
    pthread_join(w->thread, NULL);
}

void log_writer_destroy(struct log_writer *w)
{
    struct ring *r = atomic_load(&w->rings);

    pthread_key_delete(w->key);
    while (r) {
        struct ring *next = r->next;

        munmap(r, sizeof(*r));
        r = next;
    }
    close(w->wake_fd);
    free(w);
}
