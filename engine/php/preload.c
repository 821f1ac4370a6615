/* What the predecessor has learned is preloaded, watched, and handed on.
 *
 * OPcache preloads by a script, in a child that has become the pool's user where we are root; here the script
 * is no file but made of the text, by that child. One change makes the whole text worthless: classes depend
 * on each other, and a deployment changes many files. Then it is not handed on, and learned anew. */
#include "engine/php/preload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zend_stream.h"

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/opcache.h"
#include "engine/work/pool.h"

#define SCRIPT_NAME "tokiophp:preload" /* opcache.preload, so scripts can see it */
#define FOLDERS_MAX 32
#define LONGEST     (2 * PRELOAD_PATH_MAX + 128)

static char *text;                 /* constant once there are threads, or NULL, as the next */
static bool active;                /* the text's files are preloaded */
static bool looks;                 /* and opcache.validate_timestamps is on */
static bool start_failed;          /* the start before this one */
static _Atomic bool dropped;       /* the text is out of date */
static char *folders[FOLDERS_MAX]; /* of the text's scripts; constant once there are threads, as the next */
static unsigned folder_count;
static uint64_t looked_us; /* control thread */
static zend_result (*open_of_php)(
    zend_file_handle *handle); /* main thread, as the next; NULL = not replaced */
static struct buf source;
static size_t source_at;

/* -- the text -- */

struct line {
    bool is_link;
    int64_t seconds, nanoseconds, size;
    uint64_t inode;
    const char *path, *resolved; /* in bytes; resolved of a link */
    char bytes[LONGEST];
};

static bool parse_file(struct line *line)
{
    int at = 0;

    if (sscanf(line->bytes, "+F %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNu64 " %n", &line->seconds,
               &line->nanoseconds, &line->size, &line->inode, &at) != 4 ||
        at == 0 || line->bytes[at] != '/') {
        return false;
    }
    line->path = line->bytes + at;
    return true;
}

static bool parse_link(struct line *line)
{
    char *tab = strchr(line->bytes, '\t');

    if (strncmp(line->bytes, "+L ", 3) != 0 || !tab) {
        return false;
    }
    *tab = '\0';
    line->is_link = true;
    line->path = line->bytes + 3;
    line->resolved = tab + 1;
    return true;
}

/* The next line that is one of ours; false: there is none. */
static bool next_line(const char **at, struct line *line)
{
    while (**at) {
        const char *from = *at;
        size_t n = strcspn(from, "\n");

        *at += n + (from[n] == '\n');
        if (n >= sizeof line->bytes) {
            continue;
        }
        memcpy(line->bytes, from, n);
        line->bytes[n] = '\0';
        line->is_link = false;
        if (parse_file(line) || parse_link(line)) {
            return true;
        }
    }
    return false;
}

static bool is_as_it_was(const struct line *line)
{
    struct stat st;

    if (line->is_link) {
        char *now = realpath(line->path, NULL);
        bool same = now && strcmp(now, line->resolved) == 0;

        free(now);
        return same;
    }
    return stat(line->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mtim.tv_sec == line->seconds &&
           st.st_mtim.tv_nsec == line->nanoseconds && st.st_size == line->size &&
           (uint64_t)st.st_ino == line->inode;
}

/* The first file or script that is not what it was; name has PRELOAD_PATH_MAX bytes. False: all are. */
static bool find_changed(const char *of, char *name)
{
    struct line line;

    while (next_line(&of, &line)) {
        if (!is_as_it_was(&line)) {
            snprintf(name, PRELOAD_PATH_MAX, "%s", line.path);
            return true;
        }
    }
    return false;
}

static size_t folder_length(const char *script)
{
    const char *slash = strrchr(script, '/');

    return slash ? (size_t)(slash - script) : 0;
}

static void note_folders(const char *of)
{
    struct line line;

    while (folder_count < FOLDERS_MAX && next_line(&of, &line)) {
        if (line.is_link) {
            folders[folder_count++] = strndup(line.path, folder_length(line.path));
        }
    }
}

static bool is_known_folder(const char *script)
{
    size_t n = folder_length(script);

    for (unsigned i = 0; i < folder_count; i++) {
        if (folders[i] && strncmp(folders[i], script, n) == 0 && folders[i][n] == '\0') {
            return true;
        }
    }
    return false;
}

/* -- the start -- */

void preload_take(const char *list, size_t n, bool failed)
{
    start_failed = failed;
    if (!failed && n > 2 && list[0] == '+' && !text) {
        text = strndup(list, n);
    }
}

static void append_quoted(struct buf *out, const char *path)
{
    buf_text(out, "'");
    for (; *path; path++) {
        if (*path == '\'' || *path == '\\') {
            buf_text(out, "\\");
        }
        buf_add(out, path, 1);
    }
    buf_text(out, "',");
}

/* Reports nothing: a class whose parent is none of them stays the autoloader's. */
static void make_source(void)
{
    const char *at = text;
    char name[PRELOAD_PATH_MAX];
    struct line line;

    buf_text(&source, "<?php error_reporting(0); foreach ([");
    if (!find_changed(text, name)) {
        while (next_line(&at, &line)) {
            if (!line.is_link) {
                append_quoted(&source, line.path);
            }
        }
    }
    buf_text(&source, "] as $f) { try { opcache_compile_file($f); } catch (Throwable) { } }");
}

static ssize_t read_source(void *handle, char *out, size_t size)
{
    size_t n = source.n - source_at < size ? source.n - source_at : size;

    (void)handle;
    memcpy(out, source.p + source_at, n);
    source_at += n;
    return (ssize_t)n;
}

static size_t size_of_source(void *handle)
{
    (void)handle;
    return source.n;
}

/* The text is not worth root's rights, whatever opcache.preload_user says. */
static zend_result open_script(zend_file_handle *handle)
{
    if (!handle->filename || strcmp(ZSTR_VAL(handle->filename), SCRIPT_NAME) != 0) {
        return open_of_php(handle);
    }
    if (geteuid() == 0) {
        log_error("preload = auto: opcache.preload_user is root; nothing is preloaded");
        return FAILURE;
    }
    make_source();
    handle->type = ZEND_HANDLE_STREAM;
    handle->opened_path = zend_string_copy(handle->filename);
    handle->handle.stream = (zend_stream){.reader = read_source, .fsizer = size_of_source};
    return SUCCESS;
}

/* Scripts of the user's own (opcache.preload) win. */
void preload_defaults(HashTable *configuration)
{
    zval name;

    if (!text) {
        return;
    }
    open_of_php = zend_stream_open_function;
    zend_stream_open_function = open_script;
    ZVAL_NEW_STR(&name, zend_string_init(ZEND_STRL(SCRIPT_NAME), 1));
    zend_hash_str_update(configuration, ZEND_STRL("opcache.preload"), &name);
}

/* The list of scripts follows. */
static void cut_scripts(void)
{
    char *end = text;

    while (*end == '+') {
        end += strcspn(end, "\n");
        end += *end == '\n';
    }
    *end = '\0';
}

void preload_start(const struct pool_conf *pool)
{
    const char *preload = INI_STR("opcache.preload");
    bool is_ours = preload && strcmp(preload, SCRIPT_NAME) == 0;

    if (open_of_php && zend_stream_open_function == open_script) {
        zend_stream_open_function = open_of_php;
    }
    buf_free(&source);
    if (!pool || !pool->s.preload) {
        return;
    }
    active = text && is_ours && INI_BOOL("opcache.enable");
    looks = active && INI_BOOL("opcache.validate_timestamps");
    if (active) {
        cut_scripts();
        note_folders(text);
        return;
    }
    if (preload && *preload) {
        log_warning("[pool %s] preload = auto does nothing: opcache.preload is set", pool->name);
    } else if (!preload || !INI_BOOL("opcache.enable") || INI_BOOL("opcache.file_cache_only")) {
        log_warning("[pool %s] preload = auto does nothing: OPcache is off", pool->name);
    } else if (start_failed) {
        log_warning("[pool %s] preload = auto: a process has just failed to start; this one neither preloads "
                    "nor learns",
                    pool->name);
    } else {
        preload_learn_start();
    }
}

/* -- while it serves -- */

static bool drop(void)
{
    return !atomic_exchange(&dropped, true);
}

/* A deployment may have asked for another folder; its classes have the names that are preloaded already. */
void preload_begin(const struct request *r)
{
    if (!active) {
        preload_learn_begin();
    } else if (!atomic_load_explicit(&dropped, memory_order_relaxed) && r->page == PAGE_SCRIPT && r->script &&
               !is_known_folder(r->script) && access(r->script, R_OK) == 0 && drop()) {
        log_notice("preload = auto: %s is in none of the folders that were learned", r->script);
        pool_request_renewal(r->pool, "a script of another folder than those whose files are preloaded");
    }
}

bool preload_looks(void)
{
    return looks && !dropped;
}

bool preload_stale(const char **why)
{
    char name[PRELOAD_PATH_MAX];
    uint64_t now = clock_us();

    if (!preload_looks() || now - looked_us < CLOCK_US_PER_SECOND) {
        return false;
    }
    looked_us = now;
    if (!find_changed(text, name) || !drop()) {
        return false;
    }
    log_notice("preload = auto: changed: %s", name);
    *why = "a preloaded file has changed";
    return true;
}

size_t preload_list(char *out, size_t size)
{
    const char *now = active ? text : preload_learned();
    char name[PRELOAD_PATH_MAX];
    size_t n = now && !dropped ? strlen(now) : 0;

    if (n == 0 || n > size || find_changed(now, name)) {
        return 0;
    }
    memcpy(out, now, n);
    return n;
}
