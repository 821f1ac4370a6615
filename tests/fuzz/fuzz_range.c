/* Whatever a Range field holds, its parts lie inside the file, apart from each other, and are not many.
 * Range's neighbours in a request, dates and Accept-Encoding, are read from the same bytes. */
#include <stddef.h>
#include <stdint.h>

#include "engine/base/must.h"
#include "http/content/compress.h"
#include "http/wire/http_date.h"
#include "http/wire/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t sizes[] = {0, 1, 10, 1ULL << 40};
    struct str text = {(const char *)data, size};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct range ranges[RANGE_MAX];
        size_t count;
        if (range_parse(text, sizes[s], ranges, &count) != RANGE_PARTS) {
            continue;
        }
        MUST(count >= 1 && count <= RANGE_MAX);
        for (size_t i = 0; i < count; i++) {
            MUST(ranges[i].first <= ranges[i].last && ranges[i].last < sizes[s]);
            for (size_t j = 0; j < i; j++) {
                MUST(ranges[i].first > ranges[j].last || ranges[j].first > ranges[i].last);
            }
        }
    }
    int64_t seconds;
    if (http_date_parse(text, &seconds)) {
        MUST(size >= 24);
    }
    int weights[4];
    compress_weights(text, weights);
    for (int i = 0; i < 4; i++) {
        MUST(weights[i] >= 0 && weights[i] <= 1000);
    }
    return 0;
}
