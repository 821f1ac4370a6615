/* What each compression library does for compress.c: one table per library, in a file of its own. */
#ifndef HTTP_CONTENT_CODEC_H
#define HTTP_CONTENT_CODEC_H

#include "http/content/compress.h"

struct codec {
    const char *name;           /* as in Content-Encoding */
    void *(*create)(int level); /* NULL: out of memory */
    int (*run)(void *state, const char *p, size_t n, enum compress_mode mode, struct buf *out);
    void (*destroy)(void *state);
};

#define CODEC_CHUNK 16384 /* output is collected in pieces of this size, on the stack */

extern const struct codec gzip_codec, brotli_codec, zstd_codec;

#endif
