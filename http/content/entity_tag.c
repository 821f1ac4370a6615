/* Entity tags with the mark of a coding. See the header. */
#include "http/content/entity_tag.h"

#include <string.h>

void entity_tag_mark(struct buf *out, struct str tag, enum coding coding)
{
    bool strong = tag.n >= 2 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"';
    if (!strong || coding == CODING_IDENTITY) {
        buf_str(out, tag);
        return;
    }
    buf_add(out, tag.p, tag.n - 1);
    buf_printf(out, "-%s\"", compress_name(coding));
}

/* The coding whose mark is at the end of a tag's text, between its quotes. */
static enum coding mark_of(struct str text, size_t *mark_n)
{
    for (int coding = CODING_IDENTITY + 1; coding < CODING_COUNT; coding++) {
        struct str name = str_of(compress_name((enum coding)coding));
        if (text.n > name.n && str_ends(text, name) && text.p[text.n - name.n - 1] == '-') {
            *mark_n = name.n + 1;
            return (enum coding)coding;
        }
    }
    *mark_n = 0;
    return CODING_IDENTITY;
}

struct str entity_tag_unmark(struct arena *arena, struct str list, unsigned *codings)
{
    char *text = arena_alloc(arena, list.n + 1), *at = text;
    const char *p = list.p, *end = list.p + list.n;
    *codings = 0;
    if (!text) {
        return STR_NONE;
    }
    while (p < end) {
        const char *open = memchr(p, '"', (size_t)(end - p));
        const char *close = open ? memchr(open + 1, '"', (size_t)(end - open - 1)) : NULL;
        if (!close) {
            break;
        }
        struct str tag = {open + 1, (size_t)(close - open - 1)};
        size_t mark_n;
        *codings |= 1u << mark_of(tag, &mark_n);
        at = mempcpy(at, p, (size_t)(close - p) - mark_n);
        *at++ = '"';
        p = close + 1;
    }
    at = mempcpy(at, p, (size_t)(end - p));
    *at = '\0';
    return (struct str){text, (size_t)(at - text)};
}
