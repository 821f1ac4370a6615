/* brotli by libbrotlienc. The window is kept at 512 KB: web pages gain nothing from more, and an encoder's
 * memory grows with it. */
#include <brotli/encode.h>

#include "http/content/codec.h"

static void *create(int level)
{
    BrotliEncoderState *state = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    if (state != NULL) {
        BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, (uint32_t)level);
        BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, 19);
    }
    return state;
}

static int run(void *state, const char *p, size_t n, enum compress_mode mode, struct buf *out)
{
    BrotliEncoderOperation operation = mode == COMPRESS_END     ? BROTLI_OPERATION_FINISH
                                       : mode == COMPRESS_FLUSH ? BROTLI_OPERATION_FLUSH
                                                                : BROTLI_OPERATION_PROCESS;
    const uint8_t *in = (const uint8_t *)p;
    size_t left = n, room = 0;
    do {
        if (!BrotliEncoderCompressStream(state, operation, &left, &in, &room, NULL, NULL)) {
            return -1;
        }
        size_t taken = 0; /* 0: as much as there is, in the encoder's own memory */
        const uint8_t *made = BrotliEncoderTakeOutput(state, &taken);
        buf_add(out, (const char *)made, taken);
    } while (left > 0 || BrotliEncoderHasMoreOutput(state));
    return out->failed ? -1 : 0;
}

static void destroy(void *state)
{
    BrotliEncoderDestroyInstance(state);
}

const struct codec brotli_codec = {"br", create, run, destroy};
