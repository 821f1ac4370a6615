#include "engine/php/streams_kept.h"

#include <php.h>

#include "ext/standard/basic_functions.h"
#include "ext/standard/file.h"

struct streams_kept {
    HashTable *wrappers, *filters, *user_filters; /* NULL = PHP's own */
    php_stream_context *context;
    zval context_options;
};

static HashTable *copy_table(const HashTable *from)
{
    HashTable *copy;

    if (!from) {
        return NULL;
    }
    ALLOC_HASHTABLE(copy);
    zend_hash_init(copy, zend_hash_num_elements(from), NULL, NULL, 0);
    zend_hash_copy(copy, (HashTable *)(uintptr_t)from, NULL);
    return copy;
}

static void free_table(HashTable *table)
{
    if (table) {
        zend_hash_destroy(table);
        FREE_HASHTABLE(table);
    }
}

/* Names are put back; what they stand for belongs to PHP until the script ends. */
static void put_back_table(HashTable **table, const HashTable *was)
{
    if (*table || was) {
        free_table(*table);
        *table = copy_table(was);
    }
}

/* A filter of the request's would keep its name taken. What it had at its boot stays where it is. */
static void put_back_user_filters(const HashTable *was)
{
    zend_string *name;

    if (!BG(user_filter_map)) {
        return;
    }
    for (bool found = true; found;) {
        found = false;
        ZEND_HASH_FOREACH_STR_KEY(BG(user_filter_map), name)
        {
            if (name && (!was || !zend_hash_exists(was, name))) {
                zend_hash_del(BG(user_filter_map), name);
                found = true;
                break;
            }
        }
        ZEND_HASH_FOREACH_END();
    }
}

struct streams_kept *streams_keep(void)
{
    struct streams_kept *s = ecalloc(1, sizeof *s);

    s->wrappers = copy_table(FG(stream_wrappers));
    s->filters = copy_table(FG(stream_filters));
    s->user_filters = copy_table(BG(user_filter_map));
    s->context = FG(default_context);
    ZVAL_UNDEF(&s->context_options);
    if (s->context) {
        ZVAL_COPY(&s->context_options, &s->context->options);
    }
    return s;
}

void streams_put_back(const struct streams_kept *s)
{
    put_back_table(&FG(stream_wrappers), s->wrappers);
    put_back_table(&FG(stream_filters), s->filters);
    put_back_user_filters(s->user_filters);
    if (FG(default_context) && FG(default_context) != s->context) {
        zend_list_delete(FG(default_context)->res);
    }
    FG(default_context) = s->context;
    if (s->context) {
        zval_ptr_dtor(&s->context->options);
        ZVAL_COPY(&s->context->options, &s->context_options);
    }
}

void streams_free_kept(struct streams_kept *s)
{
    free_table(s->wrappers);
    free_table(s->filters);
    free_table(s->user_filters);
    zval_ptr_dtor(&s->context_options);
    efree(s);
}
