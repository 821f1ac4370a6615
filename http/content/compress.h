/* Content codings: negotiation by q-values, and streaming brotli, gzip (zstd if built in). A compressor
 * belongs to one response and one thread at a time (the worker's, for PHP responses). */
#ifndef HTTP_CONTENT_COMPRESS_H
#define HTTP_CONTENT_COMPRESS_H

#include "engine/base/buf.h"
#include "engine/base/str.h"

struct http_settings;

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_BROTLI, CODING_ZSTD };
#define CODING_COUNT 4

/* The best coding that the client accepts; accept: Accept-Encoding's value, STR_NONE if absent. */
enum coding compress_negotiate(const struct http_settings *settings, struct str accept);
/* The weight of each coding in thousandths, 0 = refused; identity counts only where it is named. */
void compress_weights(struct str accept, int weights[4]);
/* The level that the settings ask for, for responses that are made anew each time. */
int compress_level(const struct http_settings *settings, enum coding coding);
const char *compress_name(enum coding coding); /* "br" */
/* Is a response of this type and size (-1 unknown) worth it by the settings? */
bool compress_wanted(const struct http_settings *settings, struct str content_type, int64_t size);

struct compressor;
struct compressor *compressor_create(enum coding coding, int level); /* NULL: out of memory */
enum compress_mode { COMPRESS_MORE, COMPRESS_FLUSH, COMPRESS_END };
int compressor_run(struct compressor *c, const char *p, size_t n, enum compress_mode mode,
                   struct buf *out); /* 0 or -1 */
void compressor_destroy(struct compressor *c);

#endif
