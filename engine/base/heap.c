/* Blocks in sizes of powers of two, a list of free ones for each size. Small ones are cut from spans that are
 * never given back; of large ones only a few are kept; the largest come from the kernel each time. In front
 * of each block stands its size. */
#include "engine/base/heap.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/must.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

void *heap_alloc(size_t n)
{
    return malloc(n);
}

void *heap_resize(void *block, size_t n)
{
    return realloc(block, n);
}

void heap_free(void *block)
{
    free(block);
}

#else

#define SMALLEST   6 /* 64 bytes */
#define LARGE      15
#define LARGEST    17 /* 128 KiB */
#define KEEP_LARGE 16
#define SPAN_BYTES 65536u
#define MAGIC      0x48656170u

struct head {
    _Alignas(max_align_t) uint32_t magic;
    uint32_t shift; /* the block's size is 1 << shift; 0: not a power of two */
    size_t size;
};

struct free_block {
    struct head head;
    struct free_block *next;
};

static struct shelf {
    _Alignas(64) pthread_mutex_t lock; /* guards the rest */
    struct free_block *first;
    unsigned count;
} shelves[LARGEST + 1];

__attribute__((constructor)) static void make_locks(void)
{
    for (unsigned i = 0; i <= LARGEST; i++) {
        pthread_mutex_init(&shelves[i].lock, NULL);
    }
}

static void *pages(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void *payload(struct head *head, unsigned shift, size_t size)
{
    head->magic = MAGIC;
    head->shift = shift;
    head->size = size;
    return head + 1;
}

static struct head *head_of(void *block)
{
    struct head *head = (struct head *)block - 1;

    MUST(head->magic == MAGIC);
    return head;
}

static unsigned shift_for(size_t n)
{
    unsigned shift = SMALLEST;

    while (shift <= LARGEST && n > (size_t)1 << shift) {
        shift++;
    }
    return shift;
}

/* With the shelf's lock held: one span more, cut into blocks. */
static void fill(struct shelf *shelf, unsigned shift)
{
    size_t step = sizeof(struct head) + ((size_t)1 << shift);
    size_t span = shift >= LARGE ? step : SPAN_BYTES;
    char *p = pages(span);

    for (size_t at = 0; p && at + step <= span; at += step) {
        struct free_block *block = (struct free_block *)(void *)(p + at);

        block->next = shelf->first;
        shelf->first = block;
        shelf->count++;
    }
}

static void *take(unsigned shift)
{
    struct shelf *shelf = &shelves[shift];

    pthread_mutex_lock(&shelf->lock);
    if (!shelf->first) {
        fill(shelf, shift);
    }
    struct free_block *block = shelf->first;

    if (block) {
        shelf->first = block->next;
        shelf->count--;
    }
    pthread_mutex_unlock(&shelf->lock);
    return block ? payload(&block->head, shift, (size_t)1 << shift) : NULL;
}

void *heap_alloc(size_t n)
{
    unsigned shift = shift_for(n);

    if (shift <= LARGEST) {
        return take(shift);
    }
    struct head *head = n < SIZE_MAX / 2 ? pages(sizeof(*head) + n) : NULL;

    return head ? payload(head, 0, n) : NULL;
}

void heap_free(void *block)
{
    if (!block) {
        return;
    }
    struct head *head = head_of(block);
    unsigned shift = head->shift;

    if (shift == 0) {
        munmap(head, sizeof(*head) + head->size);
        return;
    }
    struct shelf *shelf = &shelves[shift];

    head->magic = 0;
    pthread_mutex_lock(&shelf->lock);
    bool keep = shift < LARGE || shelf->count < KEEP_LARGE;

    if (keep) {
        struct free_block *empty = (struct free_block *)head;

        empty->next = shelf->first;
        shelf->first = empty;
        shelf->count++;
    }
    pthread_mutex_unlock(&shelf->lock);
    if (!keep) {
        munmap(head, sizeof(*head) + ((size_t)1 << shift));
    }
}

void *heap_resize(void *block, size_t n)
{
    size_t size = block ? head_of(block)->size : 0;

    if (block && n <= size) {
        return block;
    }
    void *larger = heap_alloc(n);

    if (larger && block) {
        memcpy(larger, block, size);
        heap_free(block);
    }
    return larger;
}

#endif

void *heap_zero(size_t n)
{
    void *block = heap_alloc(n);

    return block ? memset(block, 0, n) : NULL;
}
