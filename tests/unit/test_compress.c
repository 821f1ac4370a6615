/* Content codings: negotiation, what is worth it, and a round trip through each library in odd pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include "http/content/compress.h"
#include "http/http_settings.h"

static const struct http_settings settings = {
    .compression = true, .compress_min = 256, .gzip_level = 6, .brotli_level = 4, .zstd_level = 3};

static void test_negotiate(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum coding expected;
    } rows[] = {
        {"", CODING_IDENTITY},
        {"gzip", CODING_GZIP},
        {"GZIP", CODING_GZIP},
        {"x-gzip", CODING_GZIP},
        {"br", CODING_BROTLI},
        {"zstd", CODING_ZSTD},
        {"gzip, deflate, br, zstd", CODING_BROTLI},
        {"gzip, deflate", CODING_GZIP},
        {"deflate", CODING_IDENTITY},
        {"gzip;q=1.0, br;q=0.5", CODING_GZIP},
        {"gzip;q=0.8, br;q=0.801", CODING_BROTLI},
        {"gzip ; q=0.5 , zstd ;q=0.6", CODING_ZSTD},
        {"gzip;q=0, br;q=0", CODING_IDENTITY},
        {"gzip;q=0.0", CODING_IDENTITY},
        {"*", CODING_BROTLI},
        {"*;q=0", CODING_IDENTITY},
        {"br;q=0, *", CODING_ZSTD},
        {"gzip;q=0.1, *;q=0", CODING_GZIP},
        {"identity, gzip;q=0.5", CODING_IDENTITY},
        {"identity;q=0.5, gzip", CODING_GZIP},
        {"identity;q=0, gzip;q=0.1", CODING_GZIP},
        {"gzip;q=2", CODING_IDENTITY},
        {"gzip;q=x, br;q=0.1", CODING_BROTLI},
        {"gzip;q=", CODING_IDENTITY},
        {"gzip;q=0.1234", CODING_IDENTITY},
        {"gzip;q=1.001", CODING_IDENTITY},
        {";;;,,,", CODING_IDENTITY},
        {"gzipx", CODING_IDENTITY},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum coding got = compress_negotiate(&settings, str_of(rows[i].accept));
        if (got != rows[i].expected) {
            fail_msg("%s: got %s", rows[i].accept, compress_name(got));
        }
    }
    assert_int_equal(compress_negotiate(&settings, STR_NONE), CODING_IDENTITY);
    struct http_settings off = settings;
    off.compression = false;
    assert_int_equal(compress_negotiate(&off, STR("gzip")), CODING_IDENTITY);
}

static void test_wanted(void **state)
{
    (void)state;
    assert_true(compress_wanted(&settings, STR("text/html; charset=utf-8"), 256));
    assert_false(compress_wanted(&settings, STR("text/html"), 255));
    assert_true(compress_wanted(&settings, STR("text/html"), -1));
    assert_true(compress_wanted(&settings, STR("Application/JSON"), 1000));
    assert_true(compress_wanted(&settings, STR("application/problem+json"), 1000));
    assert_true(compress_wanted(&settings, STR("image/svg+xml"), 1000));
    assert_false(compress_wanted(&settings, STR("image/png"), 1000));
    assert_false(compress_wanted(&settings, STR("text/event-stream"), -1));
    assert_false(compress_wanted(&settings, STR_NONE, 1000));
    struct http_settings own = settings;
    own.compress_types = (char *)"text/event-stream, font/*";
    assert_true(compress_wanted(&own, STR("text/event-stream"), -1));
    assert_true(compress_wanted(&own, STR("font/woff"), 1000));
    assert_false(compress_wanted(&own, STR("text/html"), 1000));
}

static size_t decode(enum coding coding, const struct buf *in, char *out, size_t size)
{
    size_t n = size;
    if (coding == CODING_BROTLI) {
        assert_int_equal(BrotliDecoderDecompress(in->n, (uint8_t *)in->p, &n, (uint8_t *)out),
                         BROTLI_DECODER_RESULT_SUCCESS);
        return n;
    }
    if (coding == CODING_ZSTD) {
        ZSTD_DCtx *context = ZSTD_createDCtx();
        ZSTD_inBuffer input = {in->p, in->n, 0};
        ZSTD_outBuffer output = {out, size, 0};
        size_t rest = 1;
        while (input.pos < input.size && !ZSTD_isError(rest) && rest != 0) {
            rest = ZSTD_decompressStream(context, &output, &input);
        }
        assert_int_equal(rest, 0);
        ZSTD_freeDCtx(context);
        return output.pos;
    }
    z_stream stream = {.next_in = (unsigned char *)in->p,
                       .avail_in = (unsigned)in->n,
                       .next_out = (unsigned char *)out,
                       .avail_out = (unsigned)size};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    n = stream.total_out;
    inflateEnd(&stream);
    return n;
}

static void round_trip(enum coding coding, const char *data, size_t n, size_t step,
                       enum compress_mode between)
{
    struct buf out = {0};
    struct compressor *c = compressor_create(coding, compress_level(&settings, coding));
    assert_non_null(c);
    for (size_t at = 0; at < n; at += step) {
        size_t piece = n - at < step ? n - at : step, before = out.n;
        assert_int_equal(compressor_run(c, data + at, piece, between, &out), 0);
        assert_true(between != COMPRESS_FLUSH || out.n > before);
    }
    assert_int_equal(compressor_run(c, NULL, 0, COMPRESS_END, &out), 0);
    compressor_destroy(c);
    char *back = malloc(n + 1);
    assert_int_equal(decode(coding, &out, back, n + 1), n);
    assert_memory_equal(back, data, n);
    free(back);
    buf_free(&out);
}

static void test_round_trip(void **state)
{
    (void)state;
    size_t n = 300000;
    char *data = malloc(n);
    for (size_t i = 0; i < n; i++) { /* half text, half noise */
        data[i] = i < n / 2 ? "hello, world "[i % 13] : (char)(i * 2654435761u >> 13);
    }
    for (enum coding coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
        round_trip(coding, data, n, n, COMPRESS_MORE);
        round_trip(coding, data, n, 4099, COMPRESS_MORE);
        round_trip(coding, data, n, 10007, COMPRESS_FLUSH);
        round_trip(coding, data, 0, 1, COMPRESS_MORE);
        round_trip(coding, data, 1, 1, COMPRESS_FLUSH);
    }
    free(data);
    assert_null(compressor_create(CODING_IDENTITY, 0));
}

/* A limit on the output is an error, not an endless loop. */
static void test_output_limit(void **state)
{
    (void)state;
    char noise[100000];
    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (char)(i * 2654435761u >> 11);
    }
    for (enum coding coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
        struct buf out = {.limit = 1000};
        struct compressor *c = compressor_create(coding, 3);
        assert_int_equal(compressor_run(c, noise, sizeof(noise), COMPRESS_END, &out), -1);
        compressor_destroy(c);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_negotiate), cmocka_unit_test(test_wanted),
                                       cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_output_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
