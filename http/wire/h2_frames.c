/* Frame heads in a stream of bytes. See the header. */
#include "http/wire/h2_frames.h"

#define TYPE_DATA 0

static uint32_t number(const unsigned char *p, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value = value << 8 | p[i];
    }
    return value;
}

size_t h2_frames_next_data(struct h2_frames *f, const char *p, size_t n, int32_t *id)
{
    size_t at = 0;
    *id = -1;
    while (at < n) {
        if (f->left > 0) {
            uint32_t skip = n - at < f->left ? (uint32_t)(n - at) : f->left;
            f->left -= skip;
            at += skip;
            continue;
        }
        f->head[f->have++] = (unsigned char)p[at++];
        if (f->have < sizeof f->head) {
            continue;
        }
        f->have = 0;
        f->left = number(f->head, 3);
        if (f->head[3] == TYPE_DATA) {
            *id = (int32_t)(number(f->head + 5, 4) & 0x7fffffff);
            break;
        }
    }
    return at;
}
