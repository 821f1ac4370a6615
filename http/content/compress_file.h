/* Compressed forms of static files: made once, by a helper thread, and kept with the file in the cache. */
#ifndef HTTP_CONTENT_COMPRESS_FILE_H
#define HTTP_CONTENT_COMPRESS_FILE_H

#include "http/content/file_cache.h"
#include "http/content/helper_pool.h"

/* Any thread: have this form made, if nobody asked yet and there is room. settings and cache outlive the
 * pool's threads. */
void compress_file_ask(struct helper_pool *pool, const struct http_settings *settings,
                       struct file_cache *cache, struct file *file, enum coding coding);

#endif
