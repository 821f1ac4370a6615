/* A growing piece of text. One thread at a time. A failed allocation or the limit sets `failed` and later
 * calls do nothing, so that a writer checks once, at the end. */
#ifndef ENGINE_BASE_BUF_H
#define ENGINE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/str.h"

struct buf {
    char *p; /* heap.h's; NUL-terminated once anything was added; NULL while empty */
    size_t n, size;
    size_t limit; /* 0 = none */
    bool wiped;   /* memory that it leaves, as it grows or ends, says nothing more */
    bool failed;
};

void buf_add(struct buf *b, const char *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_text(struct buf *b, const char *text);
void buf_u64(struct buf *b, uint64_t n); /* in decimal */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_json(struct buf *b, struct str s); /* as the inside of a JSON string; invalid UTF-8 becomes U+FFFD */
void buf_xml(struct buf *b,
             struct str s);   /* & < > " ' escaped, controls that XML 1.0 forbids become U+FFFD */
void buf_free(struct buf *b); /* back to empty */
void buf_wipe(struct buf *b); /* the same, and its memory says nothing more */

#endif
