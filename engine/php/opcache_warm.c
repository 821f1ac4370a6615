/* What this process's OPcache holds, for the next generation, and what the one before us held. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/php/opcache_private.h"
#include "engine/php/preload.h"
#include "engine/php/run.h"

#define WARM_PERCENT    70 /* how far the old generation's scripts may fill the new one */
#define WARM_LOOK_EVERY 64 /* scripts */

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
        if (n && *path != '+' && is_there(path, n)) { /* preload.h has the others */
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

static void list_unrestricted(void *listing)
{
    run_unrestricted(opcache_list, listing);
}

size_t opcache_warm_list(char *out, size_t size)
{
    struct opcache_listing l = {.out = out, .size = size, .n = preload_list(out, size)};
    size_t preloaded = l.n;

    if (opcache_can_tell()) {
        run_aside(list_unrestricted, &l);
    }
    return l.n > preloaded ? l.n : preloaded + opcache_kept_list(out + preloaded, size - preloaded);
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
