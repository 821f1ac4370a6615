/* Compressed forms of static files are made once, on one low-priority thread behind a bounded queue, and kept
 * with the file in the cache. Because it happens once, it is done more thoroughly than for a response of PHP.
 * The thread starts with the first wish. The pool's lock guards its queue; a queued file is held by a
 * reference. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "http/compress_pool.h"
#include "http/http_settings.h"

#define QUEUE_SIZE   64
#define SOURCE_MAX   (8u << 20) /* larger files are sent as they are */
#define THOROUGH_MAX (1u << 20) /* up to here at THOROUGH levels */
#define PIECE        65536

struct job {
    struct file *file;
    enum coding coding;
};

struct compress_pool {
    const struct http_settings *settings;
    struct file_cache *cache;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct job queue[QUEUE_SIZE];
    unsigned head, count;
    bool started, stopping;
    pthread_t thread;
};

struct compress_pool *compress_pool_create(const struct http_settings *settings, struct file_cache *cache)
{
    struct compress_pool *pool = calloc(1, sizeof(*pool));
    if (pool != NULL) {
        pool->settings = settings;
        pool->cache = cache;
        pthread_mutex_init(&pool->lock, NULL);
        pthread_cond_init(&pool->wake, NULL);
    }
    return pool;
}

static int level_for(const struct http_settings *settings, enum coding coding, uint64_t size)
{
    static const int thorough[] = {[CODING_GZIP] = 9, [CODING_BROTLI] = 9, [CODING_ZSTD] = 15};
    int level = compress_level(settings, coding);
    return size <= THOROUGH_MAX && level < thorough[coding] ? thorough[coding] : level;
}

/* The whole file through the compressor. False: it could not be read, or it became too large to be worth it.
 */
static bool compress_form(const struct file_form *source, struct compressor *c, struct buf *out)
{
    char piece[PIECE];
    uint64_t at = 0;
    while (at < source->n) {
        size_t n = source->n - at < PIECE ? (size_t)(source->n - at) : PIECE;
        const char *p = source->data != NULL ? source->data + at : piece;
        if (source->data == NULL && !file_read(source->fd, piece, n, (off_t)at)) {
            return false;
        }
        at += n;
        if (compressor_run(c, p, n, at == source->n ? COMPRESS_END : COMPRESS_MORE, out) != 0) {
            return false;
        }
    }
    return true;
}

static void make(struct compress_pool *pool, struct job job)
{
    const struct file_form *source = &job.file->identity;
    struct buf out = {.limit = (size_t)(source->n - source->n / 20)}; /* below 5 % it is not worth it */
    int level = level_for(pool->settings, job.coding, source->n);
    struct compressor *c = compressor_create(job.coding, level);
    bool made = c != NULL && compress_form(source, c, &out) && !out.failed;
    compressor_destroy(c);
    if (!made) {
        buf_free(&out);
        file_cache_add_form(pool->cache, job.file, job.coding, NULL, 0);
        return;
    }
    char *fitted = realloc(out.p, out.n);
    file_cache_add_form(pool->cache, job.file, job.coding, fitted != NULL ? fitted : out.p, out.n);
}

static void *helper(void *arg)
{
    struct compress_pool *pool = arg;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10); /* Linux: of this thread */
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopping) {
        if (pool->count == 0) {
            pthread_cond_wait(&pool->wake, &pool->lock);
            continue;
        }
        struct job job = pool->queue[pool->head];
        pool->head = (pool->head + 1) % QUEUE_SIZE;
        pool->count--;
        pthread_mutex_unlock(&pool->lock);
        make(pool, job);
        file_release(job.file);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Lock held. Signals belong to other threads. */
static bool start(struct compress_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool->started = pthread_create(&pool->thread, NULL, helper, pool) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->started;
}

void compress_pool_ask(struct compress_pool *pool, struct file *file, enum coding coding)
{
    if (file->identity.n == 0 || file->identity.n > SOURCE_MAX || !atomic_load(&file->kept) ||
        atomic_load(&file->asked[coding]) || atomic_exchange(&file->asked[coding], true)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    bool taken = pool->count < QUEUE_SIZE && !pool->stopping && (pool->started || start(pool));
    if (taken) {
        atomic_fetch_add(&file->references, 1);
        pool->queue[(pool->head + pool->count++) % QUEUE_SIZE] = (struct job){file, coding};
        pthread_cond_signal(&pool->wake);
    } else {
        atomic_store(&file->asked[coding], false); /* the next request may try again */
    }
    pthread_mutex_unlock(&pool->lock);
}

void compress_pool_destroy(struct compress_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    bool started = pool->started;
    pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    if (started) {
        pthread_join(pool->thread, NULL);
    }
    for (; pool->count > 0; pool->count--) {
        file_release(pool->queue[pool->head].file);
        pool->head = (pool->head + 1) % QUEUE_SIZE;
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
