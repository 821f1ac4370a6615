/* A short list of files in memory: see pem.h. */
#include "http/net/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (1u << 20) /* a chain of certificates is a few KB */

struct pem {
    struct pem *next;
    char *path;
    char *text;
    size_t n;
};

static struct pem *kept;

/* The whole file, or NULL with errno. */
static char *read_file(const char *path, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    char *text = xmalloc(PEM_MAX);
    ssize_t got = 0;
    *n = 0;
    while (*n < PEM_MAX && (got = read(fd, text + *n, PEM_MAX - *n)) > 0) {
        *n += (size_t)got;
    }
    int saved = got < 0 ? errno : *n == PEM_MAX ? EFBIG : 0;
    close(fd);
    if (saved) {
        explicit_bzero(text, PEM_MAX);
        free(text);
        errno = saved;
        return NULL;
    }
    return text;
}

struct str pem_load(const char *path)
{
    for (const struct pem *p = kept; p; p = p->next) {
        if (strcmp(p->path, path) == 0) {
            return (struct str){p->text, p->n};
        }
    }
    size_t n;
    char *text = read_file(path, &n);
    if (!text) {
        return STR_NONE;
    }
    struct pem *p = xmalloc(sizeof *p);
    *p = (struct pem){.next = kept, .path = xstrdup(path), .text = xmalloc(n + 1), .n = n};
    memcpy(p->text, text, n);
    explicit_bzero(text, n);
    free(text);
    kept = p;
    return (struct str){p->text, p->n};
}

void pem_forget(bool (*needs)(const char *path, const void *ctx), const void *ctx)
{
    struct pem **link = &kept;
    while (*link) {
        struct pem *p = *link;
        if (needs && needs(p->path, ctx)) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        explicit_bzero(p->text, p->n);
        free(p->text);
        free(p->path);
        free(p);
    }
}
