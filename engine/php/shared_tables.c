/* See shared_tables.h.
 *
 * A thread that PHP starts gets tables of its own of all functions and constants, and of each constant a
 * copy: 290 KiB that are the same in all threads but for what scripts add, and that goes when they end. Here
 * each table is made once, into a file in memory, and a thread's is a private mapping of it: only pages that
 * the thread writes are its own. The constants themselves are copied once, and stay as long as the process.
 *
 * Nothing is written into what is shared. A constant is read, or removed from a table, and then the
 * destructor of that table keeps it; its strings are interned, so nobody counts who uses them.
 *
 * PHP frees a table with free(), at the thread's end or when it has to grow. So a mapping must lie in memory
 * that malloc took from the kernel for this one block, and gives back as a whole: glibc does that for blocks
 * above a limit of at most 32 MiB, and leaves such a block where it is when it is made smaller. */
#include "engine/php/shared_tables.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "zend_constants.h"

/* Above M_MMAP_THRESHOLD's largest value. None of it is touched. */
#define SURELY_MAPPED ((size_t)33 << 20)
/* What malloc keeps for itself in front of such a block, which begins at a page's beginning. */
#define BEFORE (2 * sizeof(size_t))

struct image {
    const HashTable *source; /* NULL = there is none */
    const Bucket *rows;      /* the source's, when it was made */
    uint32_t used;
    HashTable table; /* its data is in the file, and read only */
    size_t length;   /* of the file, in whole pages */
    int fd;          /* -1 = there is none, and the data is malloc's */
    bool failed;     /* so it would for the next thread */
};

/* Written before a second thread is there. */
static struct image functions, constants;
static const zend_constant *shared; /* all of the constants */
static size_t shared_count;
static dtor_func_t free_constant; /* PHP's */

/* -- the constants themselves -- */

/* What is interned is never counted, nor freed. */
static zend_string *interned(zend_string *s)
{
    if (!s || ZSTR_IS_INTERNED(s)) {
        return s;
    }
    zend_string *own = zend_string_init(ZSTR_VAL(s), ZSTR_LEN(s), true);

    (void)zend_string_hash_val(own);
    GC_ADD_FLAGS(own, IS_STR_INTERNED | IS_STR_PERMANENT);
    return own;
}

/* For a table of a thread. Not by what stands in the constant: when PHP ends, it may be gone already. */
static void release(zval *value)
{
    const zend_constant *c = Z_PTR_P(value);

    if (c < shared || c >= shared + shared_count) {
        free_constant(value);
    }
}

/* As PHP has it. What is neither a number nor a string would be counted by all threads at once. */
static bool are_plain(const HashTable *table)
{
    for (uint32_t i = 0; i < table->nNumUsed; i++) {
        const zval *row = &table->arData[i].val;

        if (Z_TYPE_P(row) != IS_UNDEF) {
            const zval *value = &((const zend_constant *)Z_PTR_P(row))->value;

            if (Z_REFCOUNTED_P(value) && Z_TYPE_P(value) != IS_STRING) {
                return false;
            }
        }
    }
    return true;
}

static bool share_constants(HashTable *table)
{
    zend_constant *all = malloc(table->nNumUsed * sizeof *all);

    if (!all) {
        return false;
    }
    for (uint32_t i = 0; i < table->nNumUsed; i++) {
        zval *row = &table->arData[i].val;

        all[i] = *(zend_constant *)Z_PTR_P(row);
        all[i].name = interned(all[i].name);
        if (Z_TYPE(all[i].value) == IS_STRING) {
            /* not ZVAL_INTERNED_STR(): beside the type lie the constant's flags, which stay */
            Z_STR(all[i].value) = interned(Z_STR(all[i].value));
            Z_TYPE_INFO(all[i].value) = IS_INTERNED_STRING_EX;
        }
        Z_PTR_P(row) = &all[i];
    }
    shared = all;
    shared_count = table->nNumUsed;
    free_constant = table->pDestructor;
    table->pDestructor = release;
    return true;
}

/* -- an image -- */

/* Sealed, for a script can open any descriptor by its number. */
static int file_of(const void *data, size_t size, size_t length)
{
    int fd = memfd_create("php-table", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, (off_t)length) < 0 || pwrite(fd, data, size, BEFORE) != (ssize_t)size ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Moves the table's data, if that can be. */
static void put_into_file(struct image *image)
{
    HashTable *table = &image->table;
    void *data = HT_GET_DATA_ADDR(table);
    size_t size = HT_USED_SIZE(table), page = (size_t)sysconf(_SC_PAGESIZE);

    image->length = (BEFORE + size + page - 1) / page * page;
    image->fd = file_of(data, size, image->length);
    if (image->fd < 0) {
        return;
    }
    char *base = mmap(NULL, image->length, PROT_READ, MAP_PRIVATE, image->fd, 0);

    if (base == MAP_FAILED) {
        close(image->fd);
        image->fd = -1;
        return;
    }
    free(data);
    HT_SET_DATA_ADDR(table, base + BEFORE);
}

/* PHP's own table, without holes, for they are where disable_functions was, and with room for what scripts
 * define: a table that has to grow is copied whole. WordPress brings 3,500 functions; of constants nobody has
 * thousands, and room has its price, the more pages that a few names are spread over. */
static bool make(struct image *image, HashTable *source, shared_tables_copy_fn php)
{
    HashTable *table = &image->table;
    uint32_t count = source->nNumOfElements;

    if (image == &constants && !are_plain(source)) {
        return false;
    }
    zend_hash_init(table, image == &functions ? 3 * count : count + count / 4, NULL, NULL, true);
    php(table, source, NULL);
    table->pDestructor = source->pDestructor;
    for (uint32_t i = 0; i < table->nNumUsed; i++) {
        table->arData[i].key = interned(table->arData[i].key);
    }
    if (image == &constants && !share_constants(table)) {
        return false;
    }
    put_into_file(image);
    image->source = source;
    image->rows = source->arData;
    image->used = source->nNumUsed;
    return true;
}

/* -- a thread's table -- */

/* Room for the table's data that free() returns to the kernel at once; NULL = malloc cannot. */
static char *room(size_t size)
{
#ifdef __GLIBC__
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static bool never; /* not with this malloc */
    char *large = never ? NULL : malloc(SURELY_MAPPED);
    char *fitting = large ? realloc(large, size) : NULL;

    /* The end of a heap's block lies in the head of the next one, so its usable size is another. */
    if (fitting && ((uintptr_t)fitting - BEFORE) % page == 0 &&
        (malloc_usable_size(fitting) + BEFORE) % page == 0) {
        return fitting;
    }
    never = never || fitting;
    free(fitting ? fitting : large);
#else
    (void)size;
#endif
    return NULL;
}

static bool map(HashTable *target, const struct image *image)
{
    const HashTable *table = &image->table;
    const char *from = (const char *)HT_GET_DATA_ADDR(table) - BEFORE;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), first = image->length < page ? image->length : page;
    char *data = image->fd < 0 ? NULL : room(HT_SIZE(table));

    if (!data) {
        return false;
    }
    /* The first page is malloc's as well. */
    memcpy(data, from + BEFORE, first - BEFORE);
    if (image->length > page && mmap(data - BEFORE + page, image->length - page, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_FIXED, image->fd, (off_t)page) == MAP_FAILED) {
        free(data);
        return false;
    }
    *target = *table;
    HT_SET_DATA_ADDR(target, data);
    return true;
}

/* PHP's own copy, into a table that need not grow. */
static void copy(HashTable *target, HashTable *source, copy_ctor_func_t copied, shared_tables_copy_fn php)
{
    if ((HT_FLAGS(target) & HASH_FLAG_UNINITIALIZED) && source->nNumOfElements > target->nTableSize) {
        zend_hash_extend(target, source->nNumOfElements, false);
    }
    php(target, source, copied);
}

static void fill(HashTable *target, struct image *image, HashTable *source, copy_ctor_func_t copied,
                 shared_tables_copy_fn php)
{
    if (!image->source && !image->failed) {
        image->failed = !make(image, source, php);
    }
    if (image->source != source || image->rows != source->arData || image->used != source->nNumUsed) {
        copy(target, source, copied, php);
    } else if (!map(target, image)) {
        copy(target, &image->table, NULL, php);
        target->pDestructor = image->table.pDestructor;
    }
}

/* What belongs to an executor is asked only where the compiler's is known not to be meant: PHP copies them
 * in this order, and what comes later is not set yet. */
void shared_tables_copy(HashTable *target, HashTable *source, copy_ctor_func_t copied,
                        shared_tables_copy_fn php)
{
    const char *thread = tsrm_get_ls_cache();

    if (thread && source->nNumUsed && !HT_IS_PACKED(source) && (HT_FLAGS(target) & HASH_FLAG_UNINITIALIZED) &&
        (GC_FLAGS(target) & IS_ARRAY_PERSISTENT)) {
        const zend_compiler_globals *compiler = (const void *)(thread + compiler_globals_offset);
        const zend_executor_globals *executor = (const void *)(thread + executor_globals_offset);

        if (target == compiler->function_table) {
            fill(target, &functions, source, copied, php);
            return;
        }
        if (target != compiler->class_table && target != compiler->auto_globals &&
            target == executor->zend_constants) {
            fill(target, &constants, source, copied, php);
            return;
        }
    }
    copy(target, source, copied, php);
}
