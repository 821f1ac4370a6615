/* gzip by zlib. A state belongs to one response; about 260 KB each. */
#include <stdlib.h>
#include <zlib.h>

#include "http/content/codec.h"

static void *create(int level)
{
    z_stream *stream = calloc(1, sizeof(*stream));
    if (stream != NULL && deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(stream);
        return NULL;
    }
    return stream;
}

/* At most UINT_MAX bytes of input. */
static int run_piece(z_stream *stream, const char *p, size_t n, int flush, struct buf *out)
{
    char chunk[CODEC_CHUNK];
    stream->next_in = (unsigned char *)p; /* zlib only reads there */
    stream->avail_in = (unsigned)n;
    do {
        stream->next_out = (unsigned char *)chunk;
        stream->avail_out = sizeof(chunk);
        int result = deflate(stream, flush);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
            return -1;
        }
        buf_add(out, chunk, sizeof(chunk) - stream->avail_out);
    } while (stream->avail_out == 0);
    return out->failed ? -1 : 0;
}

static int run(void *state, const char *p, size_t n, enum compress_mode mode, struct buf *out)
{
    const size_t most = (size_t)1 << 30;
    while (n > most) {
        if (run_piece(state, p, most, Z_NO_FLUSH, out) != 0) {
            return -1;
        }
        p += most;
        n -= most;
    }
    int flush = mode == COMPRESS_END ? Z_FINISH : mode == COMPRESS_FLUSH ? Z_SYNC_FLUSH : Z_NO_FLUSH;
    return run_piece(state, p, n, flush, out);
}

static void destroy(void *state)
{
    deflateEnd(state);
    free(state);
}

const struct codec gzip_codec = {"gzip", create, run, destroy};
