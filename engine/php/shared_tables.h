/* PHP's tables of functions and constants, which are the same in all threads, exist once. */
#ifndef ENGINE_PHP_SHARED_TABLES_H
#define ENGINE_PHP_SHARED_TABLES_H

#include "engine/php/thread.h"

typedef void(ZEND_FASTCALL *shared_tables_copy_fn)(HashTable *target, HashTable *source,
                                                   copy_ctor_func_t copied);

/* zend_hash_copy(), which fills a new thread's tables; `php` is PHP's own. Any thread that PHP knows; for
 * the tables of a new thread PHP holds its lock, or there is only the main thread. */
void shared_tables_copy(HashTable *target, HashTable *source, copy_ctor_func_t copied,
                        shared_tables_copy_fn php);

#endif
