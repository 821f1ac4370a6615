/* base64 and base64url. See the header. */
#include "http/wire/base64.h"

static int digit(char c, const char last[2])
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == last[0] ? 62 : c == last[1] ? 63 : -1;
}

static ssize_t decode(struct str text, const char last[2], unsigned char *out, size_t size)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        int value = digit(text.p[i], last);
        if (value < 0) {
            return -1;
        }
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (n == size) {
                return -1;
            }
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    bool leftover = have >= 6 || (bits & ((1u << have) - 1)) != 0;
    return leftover ? -1 : (ssize_t)n;
}

ssize_t base64url_decode(struct str text, unsigned char *out, size_t size)
{
    return decode(text, "-_", out, size);
}

ssize_t base64_decode(struct str text, unsigned char *out, size_t size)
{
    for (int padding = 0; padding < 2 && text.n > 0 && text.p[text.n - 1] == '='; padding++) {
        text.n--;
    }
    return decode(text, "+/", out, size);
}
