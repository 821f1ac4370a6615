/* A fingerprint of the files that an execution would read. Libraries are looked at under the names by which
 * the dynamic linker found them, so links that lead elsewhere by now are seen; and so are the folders, for
 * one that is new there may be found first. See the header. */
#include "engine/supervise/same_program.h"

#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/str.h"

struct print {
    uint64_t sum;
    int64_t since_s;
    bool unknown;
};

static void add(struct print *p, uint64_t value)
{
    p->sum = hash_str((struct str){(const char *)&value, sizeof(value)}, p->sum);
}

static void add_file(struct print *p, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        add(p, (uint64_t)errno);
        return;
    }
    add(p, st.st_dev);
    add(p, st.st_ino);
    add(p, (uint64_t)st.st_size);
    add(p, (uint64_t)st.st_mtim.tv_sec);
    add(p, (uint64_t)st.st_mtim.tv_nsec);
    add(p, (uint64_t)st.st_ctim.tv_sec);
    add(p, (uint64_t)st.st_ctim.tv_nsec);
    p->unknown |= st.st_ctim.tv_sec >= p->since_s;
}

static void add_folder(struct print *p, const char *path, size_t n)
{
    char *folder = n > 0 ? xstrndup(path, n) : xstrdup(".");
    add_file(p, folder);
    free(folder);
}

static int add_library(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    const char *slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    if (slash) { /* not the program, not the kernel's own */
        add_file(ctx, info->dlpi_name);
        add_folder(ctx, info->dlpi_name, (size_t)(slash - info->dlpi_name) + 1);
    }
    return 0;
}

static void add_search_path(struct print *p)
{
    const char *path = getenv("LD_LIBRARY_PATH");
    for (size_t n; path; path = path[n] ? path + n + 1 : NULL) {
        n = strcspn(path, ":;");
        add_folder(p, path, n);
    }
}

static bool runs(const char *path)
{
    struct stat named, running;
    return strchr(path, '/') && stat(path, &named) == 0 && stat("/proc/self/exe", &running) == 0 &&
           named.st_dev == running.st_dev && named.st_ino == running.st_ino;
}

uint64_t same_program_print(const char *path, uint64_t since_wall_us)
{
    struct print p = {.sum = 1, .since_s = (int64_t)(since_wall_us / CLOCK_US_PER_SECOND)};
    if (!runs(path)) {
        return 0;
    }
    add_file(&p, path);
    add_file(&p, "/etc/ld.so.cache");
    add_file(&p, "/etc/ld.so.preload");
    add_search_path(&p);
    dl_iterate_phdr(add_library, &p);
    return p.unknown ? 0 : p.sum;
}
