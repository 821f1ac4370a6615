/* Compressed forms of static files. See the header. Because it happens once, it is done more thoroughly than
 * for a response of PHP. The task holds a reference to its file. */
#include "http/content/compress_file.h"

#include <stdlib.h>
#include <string.h>

#include "http/http_settings.h"

#define SOURCE_MAX   (8u << 20) /* larger files are sent as they are */
#define THOROUGH_MAX (1u << 20) /* up to here at THOROUGH levels */
#define PIECE        65536

struct file_task {
    struct helper_task task; /* first: a task is one of these */
    const struct http_settings *settings;
    struct file_cache *cache;
    struct file *file;
    enum coding coding;
};

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

static void make(const struct file_task *job)
{
    const struct file_form *source = &job->file->identity;
    struct buf out = {.limit = (size_t)(source->n - source->n / 20)}; /* below 5 % it is not worth it */
    struct compressor *c = compressor_create(job->coding, level_for(job->settings, job->coding, source->n));
    bool made = c != NULL && compress_form(source, c, &out) && !out.failed;
    compressor_destroy(c);
    if (!made) {
        buf_free(&out);
        file_cache_add_form(job->cache, job->file, job->coding, NULL, 0);
        return;
    }
    char *fitted = malloc(out.n);
    if (fitted != NULL) {
        memcpy(fitted, out.p, out.n);
    }
    file_cache_add_form(job->cache, job->file, job->coding, fitted, fitted != NULL ? out.n : 0);
    buf_free(&out);
}

static void forget(struct helper_task *task)
{
    struct file_task *job = (struct file_task *)task;
    file_release(job->file);
    free(job);
}

static void run(struct helper_task *task)
{
    make((struct file_task *)task);
    forget(task);
}

void compress_file_ask(struct helper_pool *pool, const struct http_settings *settings,
                       struct file_cache *cache, struct file *file, enum coding coding)
{
    if (file->identity.n == 0 || file->identity.n > SOURCE_MAX || !atomic_load(&file->kept) ||
        atomic_load(&file->asked[coding]) || atomic_exchange(&file->asked[coding], true)) {
        return;
    }
    struct file_task *job = malloc(sizeof *job);
    if (job != NULL) {
        *job = (struct file_task){{.run = run, .forget = forget}, settings, cache, file, coding};
        atomic_fetch_add(&file->references, 1);
        if (helper_pool_add(pool, HELPERS_FILES, &job->task)) {
            return;
        }
        forget(&job->task);
    }
    atomic_store(&file->asked[coding], false); /* the next request may try again */
}
