/* Memory that one thread allocates and another one frees. It is none of malloc's: a script that damages the
 * heap of the C library dies with a lock of malloc held, and whoever frees something that the dead thread had
 * allocated would wait for that lock for ever. Any thread; the locks in here are held for a few instructions
 * of ours. Blocks are aligned for any type. NULL: out of memory. Under a sanitizer these are malloc and free.
 */
#ifndef ENGINE_BASE_HEAP_H
#define ENGINE_BASE_HEAP_H

#include <stddef.h>

void *heap_alloc(size_t n);
void *heap_zero(size_t n);                /* filled with zeros */
void *heap_resize(void *block, size_t n); /* as realloc; NULL = heap_alloc */
void heap_free(void *block);              /* NULL is fine */

#endif
