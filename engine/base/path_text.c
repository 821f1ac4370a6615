/* See path_text.h. */
#include "engine/base/path_text.h"

#include <string.h>

#include "engine/base/encoding.h"

int path_next_char(struct str raw, size_t *i)
{
    char c = raw.p[(*i)++];
    if (c != '%') {
        return c == '\0' ? -1 : (unsigned char)c;
    }
    if (*i + 2 > raw.n) {
        return -1;
    }
    int high = hex_digit(raw.p[*i]), low = hex_digit(raw.p[*i + 1]);
    if (high < 0 || low < 0) {
        return -1;
    }
    *i += 2;
    int value = high << 4 | low;
    return value == 0 ? -1 : value;
}

/* The segment out[from..n) is complete: how many bytes of out remain; 0: it climbs out. */
static size_t fold_segment(const char *out, size_t from, size_t n)
{
    size_t length = n - from;
    if (length == 1 && out[from] == '.') {
        return from;
    }
    if (length != 2 || out[from] != '.' || out[from + 1] != '.') {
        return n;
    }
    const char *before = from > 1 ? memrchr(out, '/', from - 1) : NULL;
    return before ? (size_t)(before - out) + 1 : 0;
}

int path_text(struct str raw, char *out)
{
    size_t n = 0, segment = 1, i = 0;
    if (raw.n == 0 || raw.p[0] != '/') {
        return -400;
    }
    while (i < raw.n) {
        int c = path_next_char(raw, &i);
        if (c < 0 || (c == '/' && n > 0 && (n = fold_segment(out, segment, n)) == 0)) {
            return -400;
        }
        if (c == '/' && n > 0 && out[n - 1] == '/') {
            segment = n;
            continue;
        }
        if (n == PATH_TEXT_MAX) {
            return -414;
        }
        out[n++] = (char)c;
        segment = c == '/' ? n : segment;
    }
    n = fold_segment(out, segment, n);
    out[n] = '\0';
    return n > 0 ? (int)n : -400;
}
