/* The path of a request, from the bytes of the request line to a name that may be looked up. Decoding happens
 * exactly once. Everything that another reader (a proxy in front, the kernel, an application) could
 * understand differently is refused instead of repaired: dot-dot segments, NUL, backslashes, encoded slashes,
 * overlong UTF-8. Pure functions without memory of their own; any thread. */
#include <string.h>

#include "http/wire/path.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
        return (c | 0x20) - 'a' + 10;
    }
    return -1;
}

/* One character of the path at *i, decoded; or -1: it must not be there. */
static int next_char(struct str raw, size_t *i)
{
    char c = raw.p[(*i)++];
    if (c == '\\' || c == '\0') {
        return -1;
    }
    if (c != '%') {
        return (unsigned char)c;
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
    return value == 0 || value == '/' || value == '\\' ? -1 : value;
}

/* Do two bytes begin a character in more bytes than it needs (the old disguise of "/" and ".")? */
static bool overlong(unsigned char first, unsigned char second)
{
    if ((second & 0xc0) != 0x80) {
        return false;
    }
    return first == 0xc0 || first == 0xc1 || (first == 0xe0 && second < 0xa0) ||
           (first == 0xf0 && second < 0x90);
}

/* The segment out[from..n) is complete. 0: keep it, 1: drop it ("."), else minus a status. */
static int judge_segment(const char *out, size_t from, size_t n)
{
    if (n == from || out[from] != '.') {
        return 0;
    }
    size_t length = n - from;
    if (length == 1) {
        return 1;
    }
    if (length == 2 && out[from + 1] == '.') {
        return -400;
    }
    bool well_known = from == 1 && length == 11 && memcmp(out + from, ".well-known", 11) == 0;
    return well_known ? 0 : -403;
}

int path_clean(struct str raw, char *out)
{
    if (raw.n == 0 || raw.p[0] != '/') {
        return -400;
    }
    size_t n = 0, segment = 1, i = 0;
    int hidden = 0;
    while (i < raw.n) {
        bool slash = raw.p[i] == '/';
        int c = next_char(raw, &i);
        if (c < 0 || (n > segment && overlong((unsigned char)out[n - 1], (unsigned char)c))) {
            return -400;
        }
        if (slash && n > 0) {
            int verdict = judge_segment(out, segment, n);
            if (verdict == -400) {
                return verdict;
            }
            hidden = verdict < 0 ? verdict : hidden;
            n = verdict == 1 ? segment : n;
        }
        if (slash && n > 0 && out[n - 1] == '/') {
            continue; /* "//" is "/" */
        }
        if (n == PATH_TEXT_MAX) {
            return -414;
        }
        out[n++] = (char)c;
        segment = slash ? n : segment;
    }
    int verdict = judge_segment(out, segment, n);
    n = verdict == 1 ? segment : n;
    out[n] = '\0';
    if (verdict < 0 || hidden < 0) {
        return verdict == -400 ? verdict : -403;
    }
    return (int)n;
}

size_t path_encode(struct str path, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (n + 4 > size) {
            return 0;
        }
        if (alnum || (c != 0 && strchr("/-._~!$&'()*+,;=:@", c) != NULL)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    out[n] = '\0';
    return n;
}
