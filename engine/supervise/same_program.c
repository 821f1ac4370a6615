/* A fingerprint of the files that an execution would read. Libraries are looked at under the names by which
 * the dynamic linker found them, so links and search paths that lead elsewhere by now are seen. See the
 * header. */
#include "engine/supervise/same_program.h"

#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/clock.h"

struct print {
    uint64_t sum; /* FNV-1a over what follows */
    int64_t since_s;
    bool unknown;
};

static void add(struct print *p, uint64_t value)
{
    p->sum = (p->sum ^ value) * 0x100000001b3ULL;
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

static int add_library(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    if (info->dlpi_name && strchr(info->dlpi_name, '/')) { /* not the program, not the kernel's own */
        add_file(ctx, info->dlpi_name);
    }
    return 0;
}

static bool runs(const char *path)
{
    struct stat named, running;
    return strchr(path, '/') && stat(path, &named) == 0 && stat("/proc/self/exe", &running) == 0 &&
           named.st_dev == running.st_dev && named.st_ino == running.st_ino;
}

uint64_t same_program_print(const char *path, uint64_t since_wall_us)
{
    struct print p = {.sum = 0xcbf29ce484222325ULL,
                      .since_s = (int64_t)(since_wall_us / CLOCK_US_PER_SECOND)};
    if (!runs(path)) {
        return 0;
    }
    add_file(&p, path);
    add_file(&p, "/etc/ld.so.cache");
    add_file(&p, "/etc/ld.so.preload");
    dl_iterate_phdr(add_library, &p);
    return p.unknown ? 0 : p.sum;
}
