/* The scripts that OPcache holds, as lines of a text. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/php/opcache_private.h"

#define KEPT_MAX (1u << 20)

void opcache_list(void *listing)
{
    struct opcache_listing *l = listing;
    zend_string *path;
    zval status, *script;

    opcache_status(true, &status);
    HashTable *scripts = opcache_part_of(&status, "scripts");

    if (scripts) {
        ZEND_HASH_FOREACH_STR_KEY_VAL(scripts, path, script)
        {
            (void)script;
            if (path && l->n + ZSTR_LEN(path) + 1 <= l->size && !strchr(ZSTR_VAL(path), '\n')) {
                memcpy(l->out + l->n, ZSTR_VAL(path), ZSTR_LEN(path));
                l->n += ZSTR_LEN(path);
                l->out[l->n++] = '\n';
            }
        }
        ZEND_HASH_FOREACH_END();
    }
    zval_ptr_dtor(&status);
}

/* What an opcache_reset() found, since nobody is told afterwards. */
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static char *kept; /* kept_lock guards it, and its length */
static size_t kept_n;

void opcache_keep_list(void)
{
    struct opcache_listing l = {.out = malloc(KEPT_MAX), .size = KEPT_MAX};

    if (!l.out) {
        return;
    }
    zend_set_memory_limit(SIZE_MAX); /* the list is ours, not the script's */
    opcache_list(&l);
    zend_set_memory_limit((size_t)PG(memory_limit));
    if (l.n > 0) {
        pthread_mutex_lock(&kept_lock);
        free(kept);
        kept = realloc(l.out, l.n);
        kept_n = kept ? l.n : 0;
        pthread_mutex_unlock(&kept_lock);
    } else {
        free(l.out);
    }
}

size_t opcache_kept_list(char *out, size_t size)
{
    size_t n = 0;

    pthread_mutex_lock(&kept_lock);
    if (kept && kept_n <= size) {
        memcpy(out, kept, kept_n);
        n = kept_n;
    }
    pthread_mutex_unlock(&kept_lock);
    return n;
}
