/* Queues of bytes on their way out: memory or a piece of a file. One thread at a time. A chunk's owner is the
 * queue; taking the last byte of it calls its free(). */
#ifndef HTTP_NET_CHUNK_H
#define HTTP_NET_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct chunk {
    struct chunk *next;
    const char *p; /* what is left, if fd < 0 */
    size_t n;      /* bytes left */
    int fd;        /* else from this file, at offset */
    off_t offset;
    void (*free)(struct chunk *self); /* may be NULL */
    void *owner;                      /* free()'s */
};

struct chunk_queue {
    struct chunk *first, *last;
    size_t n; /* bytes in all */
};

void chunk_add(struct chunk_queue *q, struct chunk *c);
/* Copies n bytes into a new chunk; 0 or -1 (no memory). */
int chunk_copy(struct chunk_queue *q, const char *p, size_t n);
void chunk_taken(struct chunk_queue *q, size_t n); /* n bytes from the front have been sent */
void chunk_clear(struct chunk_queue *q);
/* Memory at the front as an iovec; the number of entries (0: the front is a file). */
int chunk_vector(const struct chunk_queue *q, struct iovec *v, int max);
/* Up to n bytes from the front copied to out (files are read) without taking them; -1 = a file could not be
 * read. */
ssize_t chunk_peek(const struct chunk_queue *q, char *out, size_t n);

#endif
