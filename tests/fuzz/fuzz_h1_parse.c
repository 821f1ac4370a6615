/* Any bytes as a request: fed whole and in two pieces, both readings are the same, and stay inside. The body
 * of a chunked one goes through the decoder. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/must.h"
#include "http/wire/h1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const char *p, size_t n, size_t step)
{
    struct h1_chunks c = {0};
    size_t at = 0;
    while (at < n) {
        size_t give = n - at < step ? n - at : step;
        size_t used = 0;
        struct str piece = STR_NONE;
        enum h1_chunk_result result = h1_chunks_next(&c, p + at, give, &used, &piece);
        MUST(used <= give && piece.n <= used);
        if (result == H1_CHUNK_BAD || result == H1_CHUNK_END) {
            return;
        }
        MUST(used > 0);
        at += used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head head;
    struct h1_facts facts;
    char *p = malloc(size ? size : 1);
    size_t whole = 0, halves = 0;
    MUST(p);
    memcpy(p, data, size);
    ptrdiff_t end = h1_parse_end(p, size, 4096, &whole);
    ptrdiff_t half = h1_parse_end(p, size / 2, 4096, &halves);
    MUST(half != H1_MORE || h1_parse_end(p, size, 4096, &halves) == end);
    MUST(half <= 0 || half == end);
    if (end > 0) {
        MUST((size_t)end <= size && (size_t)end <= 4096);
        if (h1_parse_head(p, (size_t)end, &head, &facts) == 0) {
            MUST(head.method.n > 0 && head.path.n > 0 && (facts.chunked || head.content_length >= 0));
            MUST(head.proto == 1000 || head.host.n > 0);
        }
        decode(p + end, size - (size_t)end, size);
        decode(p + end, size - (size_t)end, 1);
    }
    free(p);
    return 0;
}
