/* Configuration files of any bytes: entries and problems come out, nothing else happens. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/ini_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t seen;

static int on_entry(void *ctx, const struct ini_entry *e)
{
    (void)ctx;
    seen += strlen(e->section) + (e->name ? strlen(e->name) + strlen(e->value) + strlen(e->raw) : 0);
    return 0;
}

static void on_problem(void *ctx, int warning, const char *file, int line, const char *text)
{
    (void)ctx;
    seen += (size_t)warning + (file ? strlen(file) : 0) + (size_t)line + strlen(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    }
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ini_read(path, "/nonexistent", on_entry, on_problem, NULL);
    return 0;
}
