/* Zstandard by libzstd. The window is 512 KB, far below the 8 MB that every receiver must accept (RFC 9659).
 */
#include <zstd.h>

#include "http/content/codec.h"

static void *create(int level)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (context != NULL) {
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 19);
    }
    return context;
}

static int run(void *state, const char *p, size_t n, enum compress_mode mode, struct buf *out)
{
    ZSTD_EndDirective directive = mode == COMPRESS_END     ? ZSTD_e_end
                                  : mode == COMPRESS_FLUSH ? ZSTD_e_flush
                                                           : ZSTD_e_continue;
    char chunk[CODEC_CHUNK];
    ZSTD_inBuffer in = {p, n, 0};
    bool again;
    do {
        ZSTD_outBuffer made = {chunk, sizeof(chunk), 0};
        size_t rest = ZSTD_compressStream2(state, &made, &in, directive);
        if (ZSTD_isError(rest)) {
            return -1;
        }
        buf_add(out, chunk, made.pos);
        again = mode == COMPRESS_MORE ? in.pos < in.size : rest > 0;
    } while (again);
    return out->failed ? -1 : 0;
}

static void destroy(void *state)
{
    ZSTD_freeCCtx(state);
}

const struct codec zstd_codec = {"zstd", create, run, destroy};
