/* The cache of served files: a hash table in shards, each with its lock, its list by last use, and its share
 * of the bounds (memory, descriptors, entries). A file is compared with the disk at most once a second, by
 * whichever thread asks first; a changed one is dropped and loaded anew, and who still sends the old one
 * keeps it by reference. Disk is never touched with a lock held. Nothing is mapped, so a file that shrinks
 * can't fault. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/high_fd.h"
#include "http/content/docroot.h"
#include "http/content/file_cache.h"
#include "http/http_settings.h"
#include "http/wire/mime.h"

#define SHARDS          8
#define BUCKETS         256 /* a shard's; a power of two */
#define SHARD_FILES     512
#define RECHECK_US      1000000
#define SMALL_MAX       (256 * 1024)
#define SETTLED_NS      100000000LL /* a file changed more recently may change again unseen: not kept */
#define STALE_SIBLING_S 60

static const char *const suffixes[FILE_CODINGS] = {
    [CODING_IDENTITY] = "", [CODING_GZIP] = ".gz", [CODING_BROTLI] = ".br", [CODING_ZSTD] = ".zst"};
static const char *const etag_suffixes[FILE_CODINGS] = {
    [CODING_IDENTITY] = "", [CODING_GZIP] = "-gz", [CODING_BROTLI] = "-br", [CODING_ZSTD] = "-zst"};

struct shard {
    pthread_mutex_t lock; /* guards all below, and the files' own cache fields */
    struct file *buckets[BUCKETS];
    struct file *newest, *oldest;
    size_t memory;
    unsigned descriptors, files;
};

struct file_cache {
    const struct http_settings *settings;
    size_t small, shard_memory;
    unsigned shard_descriptors;
    uint64_t seed;
    struct shard shards[SHARDS];
};

struct file_cache *file_cache_create(const struct http_settings *settings)
{
    struct file_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return NULL;
    }
    cache->seed = hash_seed();
    struct rlimit limit;
    size_t memory = settings->static_memory > 0 ? (size_t)settings->static_memory : 0;
    cache->settings = settings;
    cache->shard_memory = memory / SHARDS;
    cache->small = memory / 32 < SMALL_MAX ? memory / 32 : SMALL_MAX;
    rlim_t open_files = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
    cache->shard_descriptors = open_files / 8 > 512 ? 512 / SHARDS : (unsigned)(open_files / 8 / SHARDS);
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&cache->shards[i].lock, NULL);
    }
    return cache;
}

/* -- one file -- */

static void form_clear(struct file_form *form)
{
    free(form->data);
    if (form->fd >= 0) {
        close(form->fd);
    }
}

void file_release(struct file *file)
{
    if (atomic_fetch_sub(&file->references, 1) != 1) {
        return;
    }
    form_clear(&file->identity);
    for (int coding = 0; coding < FILE_CODINGS; coding++) {
        struct file_form *form = atomic_load(&file->forms[coding]);
        if (form != NULL) {
            form_clear(form);
            free(form);
        }
    }
    free(file);
}

bool file_read(int fd, char *p, size_t n, off_t offset)
{
    while (n > 0) {
        ssize_t got = pread(fd, p, n, offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        p += got;
        n -= (size_t)got;
        offset += got;
    }
    return true;
}

static void stamp_of(const struct stat *st, struct file_stamp *out)
{
    out->device = st->st_dev;
    out->inode = st->st_ino;
    out->size = (uint64_t)st->st_size;
    out->modified_s = st->st_mtim.tv_sec;
    out->modified_ns = st->st_mtim.tv_nsec;
    out->changed_ns = (int64_t)st->st_ctim.tv_sec * 1000000000LL + st->st_ctim.tv_nsec;
}

static bool sibling_name(struct str path, int coding, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s%s", path.p, suffixes[coding]);
    return n > 0 && n < PATH_MAX;
}

/* The file and its precompressed siblings as they are now. A sibling much older than the file is left over
 * from an earlier version of it, and counts as not there (all zero). */
static bool stamps_now(struct str path, bool negotiable, struct file_stamp stamps[FILE_CODINGS])
{
    struct stat st;
    char name[PATH_MAX];
    memset(stamps, 0, sizeof(struct file_stamp) * FILE_CODINGS);
    if (lstat(path.p, &st) != 0 || !S_ISREG(st.st_mode)) {
        return false;
    }
    stamp_of(&st, &stamps[CODING_IDENTITY]);
    for (int coding = CODING_GZIP; negotiable && coding < FILE_CODINGS; coding++) {
        if (sibling_name(path, coding, name) && lstat(name, &st) == 0 && S_ISREG(st.st_mode) &&
            st.st_mtim.tv_sec + STALE_SIBLING_S >= stamps[CODING_IDENTITY].modified_s) {
            stamp_of(&st, &stamps[coding]);
        }
    }
    return true;
}

static bool can_be_compressed(const struct http_settings *settings, const struct file *file)
{
    return !file->packed.p && compress_wanted(settings, file->type, -1);
}

static void form_etag(struct file_form *form, const struct file_stamp *stamp, int coding)
{
    /* A time of modification can be anybody's wish, the kernel's own is not; neither is told as it is. */
    uint64_t kernels =
        ((uint64_t)stamp->changed_ns ^ stamp->inode * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    form->etag_n = (size_t)snprintf(
        form->etag, sizeof(form->etag), "\"%llx-%llx-%08x%s\"",
        (unsigned long long)stamp->modified_s * 1000000000ULL + (unsigned long long)stamp->modified_ns,
        (unsigned long long)stamp->size, (unsigned)(kernels >> 32), etag_suffixes[coding]);
}

/* Opens a file as a form, and reads it if it is small. 0, or -1 and errno. */
static int form_open(struct file_form *form, const char *path, size_t small, struct file_stamp *stamp,
                     int coding)
{
    struct stat st;
    form->fd = docroot_open_real(path);
    if (form->fd < 0) {
        return -1;
    }
    if (fstat(form->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(form->fd);
        form->fd = -1;
        errno = EACCES;
        return -1;
    }
    stamp_of(&st, stamp);
    form->n = stamp->size;
    form_etag(form, stamp, coding);
    if (form->n > small || (form->data = malloc(form->n + 1)) == NULL) {
        form->fd = high_fd(form->fd);
        return 0;
    }
    if (!file_read(form->fd, form->data, form->n, 0)) { /* it shrank just now: by the descriptor, then */
        free(form->data);
        form->data = NULL;
        return 0;
    }
    close(form->fd);
    form->fd = -1;
    return 0;
}

static void charge_form(struct file *file, const struct file_form *form)
{
    if (form->data != NULL) {
        file->memory += form->n;
    } else if (form->fd >= 0) {
        file->descriptors++;
    }
}

/* Siblings become forms: as an answer they are as good as the compressor's, and cost nothing. */
static void open_siblings(struct file_cache *cache, struct file *file)
{
    char name[PATH_MAX];
    for (int coding = CODING_GZIP; coding < FILE_CODINGS; coding++) {
        if (file->stamps[coding].size == 0 || !sibling_name(file->path, coding, name)) {
            continue;
        }
        struct file_stamp stamp;
        struct file_form *form = calloc(1, sizeof(*form));
        if (form == NULL || form_open(form, name, cache->small, &stamp, coding) != 0) {
            free(form);
            continue;
        }
        charge_form(file, form);
        atomic_store(&file->forms[coding], form);
    }
}

static struct file *file_load(struct file_cache *cache, struct str path)
{
    const struct http_settings *settings = cache->settings;
    struct file *file = calloc(1, sizeof(*file) + path.n + 1);
    if (file == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    file->references = 1;
    file->path = (struct str){memcpy(file + 1, path.p, path.n), path.n};
    file->type = mime_of(path);
    file->packed = str_ends(path, STR(".svgz")) ? STR("gzip") : STR_NONE;
    bool compressible = can_be_compressed(settings, file);
    if (!stamps_now(file->path, compressible, file->stamps) ||
        form_open(&file->identity, file->path.p, cache->small, &file->stamps[CODING_IDENTITY],
                  CODING_IDENTITY) != 0) {
        int error = errno;
        free(file);
        errno = error;
        return NULL;
    }
    charge_form(file, &file->identity);
    if (compressible) {
        open_siblings(cache, file);
    }
    file->negotiable = compressible && file->identity.n >= (uint64_t)settings->compress_min;
    for (int coding = CODING_GZIP; coding < FILE_CODINGS; coding++) {
        file->negotiable |= atomic_load(&file->forms[coding]) != NULL;
    }
    http_date_print(file->stamps[CODING_IDENTITY].modified_s, file->last_modified);
    file->memory += sizeof(*file) + path.n;
    return file;
}

/* -- the table; its lock is held -- */

static struct file **place_of(struct shard *shard, uint64_t hash, struct str path)
{
    struct file **at = &shard->buckets[hash / SHARDS % BUCKETS];
    while (*at != NULL && ((*at)->hash != hash || !str_eq((*at)->path, path))) {
        at = &(*at)->chain;
    }
    return at;
}

static void unlist(struct shard *shard, struct file *file)
{
    *(file->newer != NULL ? &file->newer->older : &shard->newest) = file->older;
    *(file->older != NULL ? &file->older->newer : &shard->oldest) = file->newer;
}

static void list_first(struct shard *shard, struct file *file)
{
    file->newer = NULL;
    file->older = shard->newest;
    *(shard->newest != NULL ? &shard->newest->newer : &shard->oldest) = file;
    shard->newest = file;
}

/* Takes a file out; the caller gets the cache's reference. */
static void take_out(struct shard *shard, struct file *file)
{
    *place_of(shard, file->hash, file->path) = file->chain;
    unlist(shard, file);
    shard->memory -= file->memory;
    shard->descriptors -= file->descriptors;
    shard->files--;
    atomic_store(&file->kept, false);
}

/* Gives up what was not used for longest until the shard is within its bounds; a list to release unlocked. */
static struct file *trim(const struct file_cache *cache, struct shard *shard)
{
    struct file *dropped = NULL;
    while (shard->oldest != NULL &&
           (shard->memory > cache->shard_memory || shard->descriptors > cache->shard_descriptors ||
            shard->files > SHARD_FILES)) {
        struct file *file = shard->oldest;
        take_out(shard, file);
        file->chain = dropped;
        dropped = file;
    }
    return dropped;
}

/* -- for everybody -- */

static void release_list(struct file *file)
{
    while (file != NULL) {
        struct file *next = file->chain;
        file_release(file);
        file = next;
    }
}

static struct shard *shard_of(struct file_cache *cache, uint64_t hash)
{
    return &cache->shards[hash % SHARDS];
}

/* The file as the cache has it; *recheck: the caller is the one to compare it with the disk. */
static struct file *find(struct shard *shard, uint64_t hash, struct str path, uint64_t now_us, bool *recheck)
{
    pthread_mutex_lock(&shard->lock);
    struct file *file = *place_of(shard, hash, path);
    *recheck = false;
    if (file != NULL) {
        atomic_fetch_add(&file->references, 1);
        if (shard->newest != file) {
            unlist(shard, file);
            list_first(shard, file);
        }
        if (now_us - file->checked_us >= RECHECK_US) {
            file->checked_us = now_us;
            *recheck = true;
        }
    }
    pthread_mutex_unlock(&shard->lock);
    return file;
}

static bool unchanged(struct file_cache *cache, const struct file *file)
{
    struct file_stamp now[FILE_CODINGS];
    bool compressible = can_be_compressed(cache->settings, file);
    return stamps_now(file->path, compressible, now) && memcmp(now, file->stamps, sizeof(now)) == 0;
}

static void drop(struct shard *shard, struct file *file)
{
    pthread_mutex_lock(&shard->lock);
    bool mine = atomic_load(&file->kept);
    if (mine) {
        take_out(shard, file);
    }
    pthread_mutex_unlock(&shard->lock);
    if (mine) {
        file_release(file);
    }
}

/* A file that was written a moment ago may be written again with the same time stamp. */
static bool settled(const struct file *file)
{
    const struct file_stamp *stamp = &file->stamps[CODING_IDENTITY];
    int64_t age_ns = (int64_t)clock_wall_us() * 1000 - stamp->changed_ns;
    return age_ns > SETTLED_NS || age_ns < 0;
}

static void keep(struct file_cache *cache, struct shard *shard, struct file *file, uint64_t now_us)
{
    if (!settled(file) || file->memory > cache->shard_memory ||
        file->descriptors > cache->shard_descriptors) {
        return;
    }
    pthread_mutex_lock(&shard->lock);
    struct file **at = place_of(shard, file->hash, file->path);
    struct file *dropped = NULL;
    if (*at == NULL) { /* else another thread was faster; ours is used once */
        *at = file;
        file->chain = NULL;
        file->checked_us = now_us;
        atomic_fetch_add(&file->references, 1);
        atomic_store(&file->kept, true);
        list_first(shard, file);
        shard->memory += file->memory;
        shard->descriptors += file->descriptors;
        shard->files++;
        dropped = trim(cache, shard);
    }
    pthread_mutex_unlock(&shard->lock);
    release_list(dropped);
}

struct file *file_cache_get(struct file_cache *cache, struct str path, uint64_t now_us)
{
    uint64_t hash = hash_str(path, cache->seed);
    struct shard *shard = shard_of(cache, hash);
    bool recheck;
    struct file *file = find(shard, hash, path, now_us, &recheck);
    if (file != NULL && recheck && !unchanged(cache, file)) {
        drop(shard, file);
        file_release(file);
        file = NULL;
    }
    if (file != NULL) {
        return file;
    }
    file = file_load(cache, path);
    if (file != NULL) {
        file->hash = hash;
        keep(cache, shard, file, now_us);
    }
    return file;
}

void file_cache_add_form(struct file_cache *cache, struct file *file, enum coding coding, char *data,
                         size_t n)
{
    struct file_form *form = calloc(1, sizeof(*form));
    if (form == NULL) {
        free(data);
        return;
    }
    form->data = data;
    form->fd = -1;
    form->n = n;
    form->absent = data == NULL;
    form_etag(form, &file->stamps[CODING_IDENTITY], coding);
    struct shard *shard = shard_of(cache, file->hash);
    struct file *dropped = NULL;
    pthread_mutex_lock(&shard->lock);
    if (atomic_load(&file->kept)) {
        file->memory += n;
        shard->memory += n;
        dropped = trim(cache, shard);
    }
    pthread_mutex_unlock(&shard->lock);
    atomic_store(&file->forms[coding], form);
    release_list(dropped);
}

void file_cache_destroy(struct file_cache *cache)
{
    for (int i = 0; cache != NULL && i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        while (shard->oldest != NULL) {
            struct file *file = shard->oldest;
            take_out(shard, file);
            file_release(file);
        }
        pthread_mutex_destroy(&shard->lock);
    }
    free(cache);
}
