/* Bytes as other formats write them: hexadecimal digits, URLs, UTF-8, JSON. Pure functions; any thread, and
 * signal handlers. */
#ifndef ENGINE_BASE_ENCODING_H
#define ENGINE_BASE_ENCODING_H

#include <stddef.h>

#include "engine/base/str.h"

/* The value of a hexadecimal digit of either case, or -1. */
static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX decoded into out, which has room for text.n bytes and may be text's own memory; how many there are. "+"
 * stays, and so does what is not well-formed. */
size_t url_decode(struct str text, char *out);

/* Length of the well-formed UTF-8 sequence at p, of n bytes, n > 0: shortest form, no surrogates, up to
 * U+10FFFF (RFC 3629). 0: there is none. */
size_t utf8_length(const unsigned char *p, size_t n);

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* How a byte below 0x80 is written inside a JSON string (RFC 8259, 7), in scratch or a constant; NULL: as it
 * is. */
const char *json_escape(unsigned char c, char scratch[8]);

#endif
