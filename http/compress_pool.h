/* A helper thread that makes compressed forms of static files, so that no loop ever compresses. */
#ifndef HTTP_COMPRESS_POOL_H
#define HTTP_COMPRESS_POOL_H

#include "http/file_cache.h"

struct compress_pool;

struct compress_pool *compress_pool_create(const struct http_settings *settings, struct file_cache *cache);
void compress_pool_destroy(struct compress_pool *pool); /* ends the thread; what was not made is forgotten */
/* Any thread: have this form made, if nobody asked yet and there is room in the queue. */
void compress_pool_ask(struct compress_pool *pool, struct file *file, enum coding coding);

#endif
