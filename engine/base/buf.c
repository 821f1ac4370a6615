/* Growing text. The owner is whoever declared the struct; memory is heap.h's and goes back with buf_free().
 * One thread at a time. Errors are sticky: see buf.h. */
#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/encoding.h"
#include "engine/base/heap.h"

/* Memory for `want` bytes, and what is there already. */
static bool grow(struct buf *b, size_t want)
{
    size_t size = b->size ? b->size * 2 : 128;
    if (size < want) {
        size = want;
    }
    char *p = b->wiped ? heap_alloc(size) : heap_resize(b->p, size);
    if (p && b->wiped && b->p) {
        memcpy(p, b->p, b->n);
        explicit_bzero(b->p, b->size);
        heap_free(b->p);
    }
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->size = size;
    return true;
}

/* Room for n more bytes and the NUL. */
static inline bool reserve(struct buf *b, size_t n)
{
    if (b->failed || n > SIZE_MAX / 2 - b->n - 1 || (b->limit && n > b->limit - b->n)) {
        b->failed = true;
        return false;
    }
    return b->n + n + 1 <= b->size || grow(b, b->n + n + 1);
}

void buf_add(struct buf *b, const char *p, size_t n)
{
    if (n > 0 && reserve(b, n)) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
        b->p[b->n] = '\0';
    }
}

void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_u64(struct buf *b, uint64_t n)
{
    char text[STR_U64_MAX];

    buf_add(b, text, str_put_u64(text, n));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if (n > 0 && reserve(b, (size_t)n)) {
        va_start(args, format);
        vsnprintf(b->p + b->n, (size_t)n + 1, format, args);
        va_end(args);
        b->n += (size_t)n;
    }
}

static const char *xml_escape(unsigned char c, char out[8])
{
    (void)out;
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#039;";
    case '\t':
    case '\n':
    case '\r': return NULL;
    default: return c < 0x20 ? UTF8_REPLACEMENT : NULL;
    }
}

/* U+FFFE and U+FFFF are well-formed UTF-8 but no XML 1.0 characters; harmless in JSON, so both escape them.
 */
static bool is_noncharacter(const unsigned char *p, size_t length)
{
    return length == 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe;
}

static void escaped(struct buf *b, struct str s, const char *(*escape)(unsigned char c, char out[8]))
{
    size_t plain = 0; /* start of the run that is copied as it is */
    size_t i = 0;

    while (i < s.n && !b->failed) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        char scratch[8];
        size_t length = utf8_length(p, s.n - i);
        const char *instead = length == 1                                 ? escape(*p, scratch)
                              : length == 0 || is_noncharacter(p, length) ? UTF8_REPLACEMENT
                                                                          : NULL;
        if (instead) {
            buf_add(b, s.p + plain, i - plain);
            buf_text(b, instead);
            plain = i + (length ? length : 1);
        }
        i += length ? length : 1;
    }
    buf_add(b, s.p + plain, s.n - plain);
}

void buf_json(struct buf *b, struct str s)
{
    escaped(b, s, json_escape);
}

void buf_xml(struct buf *b, struct str s)
{
    escaped(b, s, xml_escape);
}

void buf_free(struct buf *b)
{
    if (b->p && b->wiped) {
        explicit_bzero(b->p, b->size);
    }
    heap_free(b->p);
    *b = (struct buf){0};
}

void buf_wipe(struct buf *b)
{
    if (b->p) {
        explicit_bzero(b->p, b->size);
    }
    buf_free(b);
}
