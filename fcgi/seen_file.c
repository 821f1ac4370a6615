/* See seen_file.h. A small table by hash; a path that falls into a taken place takes it over. Worker's
 * thread. */
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "fcgi/seen_file.h"

#define PLACES        32
#define PATH_MAX_SEEN 240 /* longer ones are looked up each time */

struct seen {
    uint64_t at_us;
    size_t n; /* 0 = nothing here */
    char path[PATH_MAX_SEEN];
};

static _Thread_local struct seen table[PLACES];

static struct seen *place_of(const char *path, size_t n)
{
    return &table[hash_str((struct str){path, n}, 0) % PLACES];
}

bool seen_file_exists(const char *path, size_t n)
{
    bool fits = n > 0 && n <= PATH_MAX_SEEN;
    struct seen *s = fits ? place_of(path, n) : NULL;
    uint64_t now = clock_coarse_us();
    struct stat st;

    if (s && s->n == n && now - s->at_us < SEEN_FILE_US && memcmp(s->path, path, n) == 0) {
        return true;
    }
    if (stat(path, &st) < 0) {
        return false;
    }
    if (s) {
        s->at_us = now;
        s->n = n;
        memcpy(s->path, path, n);
    }
    return true;
}

void seen_file_forget(void)
{
    memset(table, 0, sizeof(table));
}
