/* See fcgi_bytes.h. */
#include "tests/support/fcgi_bytes.h"

#include <string.h>

void fcgi_add_record(struct buf *b, int type, const char *p, size_t n)
{
    const unsigned char h[8] = {1, (unsigned char)type, 0, 1, (unsigned char)(n >> 8), (unsigned char)n, 0,
                                0};

    buf_add(b, (const char *)h, sizeof(h));
    buf_add(b, p, n);
}

void fcgi_add_pair(struct buf *b, const char *name, const char *value)
{
    const char lengths[2] = {(char)strlen(name), (char)strlen(value)};

    buf_add(b, lengths, 2);
    buf_text(b, name);
    buf_text(b, value);
}
