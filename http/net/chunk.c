/* Queues of bytes on their way out. See the header. */
#include "http/net/chunk.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void chunk_add(struct chunk_queue *q, struct chunk *c)
{
    c->next = NULL;
    if (q->last) {
        q->last->next = c;
    } else {
        q->first = c;
    }
    q->last = c;
    q->n += c->n;
}

static void free_copy(struct chunk *self)
{
    free(self);
}

int chunk_copy(struct chunk_queue *q, const char *p, size_t n)
{
    struct chunk *c = malloc(sizeof *c + n);
    if (!c) {
        return -1;
    }
    memcpy(c + 1, p, n);
    *c = (struct chunk){.p = (const char *)(c + 1), .n = n, .fd = -1, .free = free_copy};
    chunk_add(q, c);
    return 0;
}

static void drop_first(struct chunk_queue *q)
{
    struct chunk *c = q->first;
    q->n -= c->n;
    q->first = c->next;
    if (!q->first) {
        q->last = NULL;
    }
    if (c->free) {
        c->free(c);
    }
}

void chunk_taken(struct chunk_queue *q, size_t n)
{
    while (q->first && n >= q->first->n) {
        n -= q->first->n;
        drop_first(q);
    }
    if (q->first && n > 0) {
        q->first->p += q->first->fd < 0 ? n : 0;
        q->first->offset += (off_t)n;
        q->first->n -= n;
        q->n -= n;
    }
}

void chunk_clear(struct chunk_queue *q)
{
    while (q->first) {
        drop_first(q);
    }
}

int chunk_vector(const struct chunk_queue *q, struct iovec *v, int max)
{
    int count = 0;
    for (const struct chunk *c = q->first; c && c->fd < 0 && count < max; c = c->next) {
        v[count++] = (struct iovec){(void *)(uintptr_t)c->p, c->n};
    }
    return count;
}

ssize_t chunk_peek(const struct chunk_queue *q, char *out, size_t n)
{
    size_t have = 0;
    for (const struct chunk *c = q->first; c && have < n; c = c->next) {
        size_t take = c->n < n - have ? c->n : n - have;
        if (c->fd < 0) {
            memcpy(out + have, c->p, take);
        } else {
            ssize_t got = pread(c->fd, out + have, take, c->offset);
            if (got <= 0) {
                return have ? (ssize_t)have : -1; /* the file shrank: the promise can't be kept */
            }
            if ((size_t)got < take) {
                return (ssize_t)(have + (size_t)got);
            }
        }
        have += take;
    }
    return (ssize_t)have;
}
