/* A short list of files in memory: see pem.h. */
#include "http/net/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MAX (1u << 20) /* a chain of certificates is a few KB */

struct pem {
    struct pem *next;
    char *path;
    struct pem_text {
        char *p;
        size_t n;
    } text, before; /* before: p == NULL but between pem_renew() and pem_settle() */
};

static struct pem *kept;

/* Who may write in its folder may put something else there, and nobody waits for what comes out of a pipe. */
static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))) {
        close(fd);
        errno = EOPNOTSUPP;
        return -1;
    }
    return fd;
}

/* The whole file, or NULL with errno. */
static char *read_file(const char *path, size_t *n)
{
    int fd = open_file(path);
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

/* p == NULL with errno: it cannot be read. */
static struct pem_text read_text(const char *path)
{
    size_t n;
    char *text = read_file(path, &n);
    if (!text) {
        return (struct pem_text){NULL, 0};
    }
    struct pem_text made = {xmalloc(n + 1), n};
    memcpy(made.p, text, n);
    explicit_bzero(text, n);
    free(text);
    return made;
}

static void wipe(struct pem_text *text)
{
    if (text->p) {
        explicit_bzero(text->p, text->n);
        free(text->p);
        *text = (struct pem_text){NULL, 0};
    }
}

static struct pem *find(const char *path)
{
    struct pem *p = kept;
    while (p && strcmp(p->path, path) != 0) {
        p = p->next;
    }
    return p;
}

struct str pem_load(const char *path)
{
    struct pem *p = find(path);
    if (!p) {
        struct pem_text text = read_text(path);
        if (!text.p) {
            return STR_NONE;
        }
        p = xcalloc(1, sizeof *p);
        *p = (struct pem){.next = kept, .path = xstrdup(path), .text = text};
        kept = p;
    }
    return (struct str){p->text.p, p->text.n};
}

bool pem_renew(const char *path)
{
    struct pem *p = find(path);
    if (p && p->before.p) {
        return true; /* another pool has it, too */
    }
    struct pem_text text = p ? read_text(path) : (struct pem_text){NULL, 0};
    if (!text.p || (text.n == p->text.n && memcmp(text.p, p->text.p, text.n) == 0)) {
        wipe(&text);
        return false;
    }
    p->before = p->text;
    p->text = text;
    return true;
}

void pem_settle(const char *path, bool good)
{
    struct pem *p = find(path);
    if (p && p->before.p) {
        if (!good) {
            struct pem_text refused = p->text;
            p->text = p->before;
            p->before = refused;
        }
        wipe(&p->before);
    }
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
        wipe(&p->text);
        wipe(&p->before);
        free(p->path);
        free(p);
    }
}
