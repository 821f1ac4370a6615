/* What this process's OPcache holds, for the next generation, and what the one before us held. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/opcache_private.h"
#include "engine/php/run.h"

#define WARM_PERCENT    70 /* how far the old generation's scripts may fill the new one */
#define WARM_LOOK_EVERY 64 /* scripts */
#define KEPT_MAX        (1u << 20)

struct warming {
    const char *list;
    size_t n;
    uint64_t until_us;
    unsigned compiled;
};

/* Deleted since: not worth a warning. */
static bool is_there(const char *path, size_t n)
{
    char terminated[4096];

    if (n >= sizeof terminated) {
        return false;
    }
    memcpy(terminated, path, n);
    terminated[n] = '\0';
    return access(terminated, R_OK) == 0;
}

static bool has_room(unsigned compiled)
{
    if (compiled % WARM_LOOK_EVERY == 0) {
        opcache_measure();
    }
    return opcache_percent(PART_MEMORY) < WARM_PERCENT && opcache_percent(PART_KEYS) < WARM_PERCENT;
}

static void compile_list(void *context)
{
    struct warming *w = context;

    EG(error_reporting) = 0;
    while (w->n && clock_us() < w->until_us && has_room(w->compiled)) {
        const char *end = memchr(w->list, '\n', w->n), *path = w->list;
        size_t n = end ? (size_t)(end - path) : w->n;

        w->list += end ? n + 1 : n;
        w->n -= end ? n + 1 : n;
        w->compiled++;
        if (n && is_there(path, n)) {
            opcache_compile(path, n);
        }
    }
}

void opcache_warm(const char *list, size_t n, unsigned budget_ms)
{
    uint64_t began = clock_us();
    struct warming w = {.list = list, .n = n, .until_us = began + budget_ms * 1000ull};

    if (!opcache_can_compile() || !n) {
        return;
    }
    /* A script that PHP cannot get over ends the request; the next request goes on behind it. */
    while (w.n && clock_us() < w.until_us) {
        size_t before = w.n;

        if (run_aside(compile_list, &w) || w.n == before) {
            break;
        }
    }
    log_debug("OPcache: %u scripts compiled in %u ms, %d%% of the memory used", w.compiled,
              (unsigned)((clock_us() - began) / 1000), opcache_percent(PART_MEMORY));
}

struct listing {
    char *out;
    size_t size, n;
};

static void list_scripts(void *context)
{
    struct listing *l = context;
    zend_string *path;
    zval status, *script;

    opcache_status(true, &status);
    HashTable *scripts = opcache_part_of(&status, "scripts");

    if (scripts) {
        ZEND_HASH_FOREACH_STR_KEY_VAL(scripts, path, script)
        {
            (void)script;
            if (path && l->n + ZSTR_LEN(path) + 1 <= l->size && !strchr(ZSTR_VAL(path), '\n')) {
                memcpy(l->out + l->n, ZSTR_VAL(path), ZSTR_LEN(path));
                l->n += ZSTR_LEN(path);
                l->out[l->n++] = '\n';
            }
        }
        ZEND_HASH_FOREACH_END();
    }
    zval_ptr_dtor(&status);
}

/* opcache.restrict_api is meant for scripts, not for the server: its value counts as the script. */
static void run_unrestricted(void (*body)(void *ctx), void *ctx)
{
    const char *allowed = INI_STR("opcache.restrict_api");
    char *path = estrdup(allowed ? allowed : "");

    SG(request_info).path_translated = *path ? path : NULL;
    body(ctx);
    SG(request_info).path_translated = NULL;
    efree(path);
}

static void list_unrestricted(void *context)
{
    run_unrestricted(list_scripts, context);
}

/* What an opcache_reset() found, since nobody is told afterwards. */
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static char *kept; /* kept_lock guards it, and its length */
static size_t kept_n;

void opcache_keep_list(void)
{
    struct listing l = {.out = malloc(KEPT_MAX), .size = KEPT_MAX};

    if (!l.out) {
        return;
    }
    zend_set_memory_limit(SIZE_MAX); /* the list is ours, not the script's */
    list_scripts(&l);
    zend_set_memory_limit((size_t)PG(memory_limit));
    if (l.n > 0) {
        pthread_mutex_lock(&kept_lock);
        free(kept);
        kept = realloc(l.out, l.n);
        kept_n = kept ? l.n : 0;
        pthread_mutex_unlock(&kept_lock);
    } else {
        free(l.out);
    }
}

static size_t copy_kept(char *out, size_t size)
{
    size_t n = 0;

    pthread_mutex_lock(&kept_lock);
    if (kept && kept_n <= size) {
        memcpy(out, kept, kept_n);
        n = kept_n;
    }
    pthread_mutex_unlock(&kept_lock);
    return n;
}

size_t opcache_warm_list(char *out, size_t size)
{
    struct listing l = {.out = out, .size = size};

    if (opcache_can_tell()) {
        run_aside(list_unrestricted, &l);
    }
    return l.n > 0 ? l.n : copy_kept(out, size);
}

static void reset(void *context)
{
    (void)context;
    opcache_reset();
}

static void reset_unrestricted(void *context)
{
    run_unrestricted(reset, context);
}

void opcache_forget(void)
{
    if (opcache_can_tell()) {
        run_aside(reset_unrestricted, NULL);
    }
}
