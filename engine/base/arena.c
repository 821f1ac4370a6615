/* A request's memory: a chain of blocks, filled from the front of the newest one. One thread at a time. The
 * arena owns every block; nothing is freed singly. Pieces too big for a block get one of their own, put
 * behind the newest, so that its rest stays in use. */
#include "engine/base/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/heap.h"

#define ALIGNMENT _Alignof(max_align_t)
/* One request's parameters fit: no second block in the usual case. With its head it is a power of two. */
#define BLOCK_BYTES (8192 - sizeof(struct block))

struct block {
    struct block *next; /* older */
    size_t size, used;  /* of bytes[] */
    _Alignas(max_align_t) char bytes[];
};

struct arena {
    struct block *first;  /* made with the arena, kept by reset */
    struct block *newest; /* allocations come from here */
    size_t used, limit;   /* bytes handed out, and the most that may be */
};

static struct block *block_create(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct block)) {
        return NULL;
    }
    struct block *block = heap_alloc(sizeof *block + size);
    if (block) {
        block->next = NULL;
        block->size = size;
        block->used = 0;
    }
    return block;
}

struct arena *arena_create(size_t limit)
{
    struct arena *a = heap_alloc(sizeof *a);
    struct block *block = block_create(BLOCK_BYTES);

    if (!a || !block) {
        heap_free(a);
        heap_free(block);
        return NULL;
    }
    *a = (struct arena){.first = block, .newest = block, .limit = limit};
    return a;
}

static struct block *block_with_room(struct arena *a, size_t n)
{
    if (n <= a->newest->size - a->newest->used) {
        return a->newest;
    }
    bool large = n > BLOCK_BYTES / 2;
    struct block *block = block_create(large ? n : BLOCK_BYTES);
    if (!block) {
        return NULL;
    }
    if (large) {
        block->next = a->newest->next;
        a->newest->next = block;
    } else {
        block->next = a->newest;
        a->newest = block;
    }
    return block;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n == 0) {
        n = 1;
    }
    if (n > SIZE_MAX - (ALIGNMENT - 1)) {
        return NULL;
    }
    n = (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (n > a->limit - a->used) {
        return NULL;
    }
    struct block *block = block_with_room(a, n);
    if (!block) {
        return NULL;
    }
    char *p = block->bytes + block->used;
    block->used += n;
    a->used += n;
    return p;
}

char *arena_dup(struct arena *a, const char *p, size_t n)
{
    if (n == SIZE_MAX) {
        return NULL;
    }
    char *copy = arena_alloc(a, n + 1);
    if (copy) {
        if (n > 0) {
            memcpy(copy, p, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

char *arena_u64(struct arena *a, uint64_t n)
{
    char text[STR_U64_MAX];

    return arena_dup(a, text, str_put_u64(text, n));
}

char *arena_join(struct arena *a, struct str first, struct str second)
{
    char *text = first.n < SIZE_MAX - 1 - second.n ? arena_alloc(a, first.n + second.n + 1) : NULL;

    if (text) {
        memcpy(text, first.n ? first.p : "", first.n);
        memcpy(text + first.n, second.n ? second.p : "", second.n);
        text[first.n + second.n] = '\0';
    }
    return text;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (text) {
        va_start(args, format);
        vsnprintf(text, (size_t)n + 1, format, args);
        va_end(args);
    }
    return text;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

/* The first block is not always the tail: a large block can hang behind it. So all but it are freed. */
static void free_all_but(struct arena *a, struct block *kept)
{
    struct block *block = a->newest;

    while (block) {
        struct block *next = block->next;
        if (block != kept) {
            heap_free(block);
        }
        block = next;
    }
}

void arena_reset(struct arena *a)
{
    free_all_but(a, a->first);
    a->first->next = NULL;
    a->first->used = 0;
    a->newest = a->first;
    a->used = 0;
}

void arena_destroy(struct arena *a)
{
    if (a) {
        free_all_but(a, NULL);
        heap_free(a);
    }
}
