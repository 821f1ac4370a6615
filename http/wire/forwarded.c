/* Lists of proxies from the right. See the header. */
#include "http/wire/forwarded.h"

#include <string.h>

#define ENTRY_MAX 1024 /* a longer element of Forwarded is none */

/* -- elements: name=value;name="value" -- */

/* Where the value that begins at p ends; NULL: it has no end, or an empty one. */
static const char *value_end(const char *p, const char *end)
{
    if (p == end || *p != '"') {
        const char *from = p;
        while (p < end && !strchr("\",;\\ \t", *p)) {
            p++;
        }
        return p > from ? p : NULL;
    }
    for (p++; p < end && *p != '"'; p++) {
        p += *p == '\\' && p + 1 < end;
    }
    return p < end ? p + 1 : NULL;
}

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    return p;
}

/* The next parameter of *rest. True with name.n == 0: an empty one. False: this is no element. */
static bool next_param(struct str *rest, struct str *name, struct str *value)
{
    const char *end = rest->p + rest->n, *p = skip_blanks(rest->p, end), *from = p;
    *name = *value = STR_NONE;
    while (p < end && !strchr("=\",;\\ \t", *p)) {
        p++;
    }
    if (p > from) {
        *name = (struct str){from, (size_t)(p - from)};
        p = skip_blanks(p, end);
        if (p == end || *p != '=') {
            return false;
        }
        from = skip_blanks(p + 1, end);
        p = value_end(from, end);
        if (!p) {
            return false;
        }
        *value = (struct str){from, (size_t)(p - from)};
        p = skip_blanks(p, end);
    }
    if (p < end && *p != ';') {
        return false;
    }
    p += p < end;
    *rest = (struct str){p, (size_t)(end - p)};
    return true;
}

static bool is_element(struct str text)
{
    struct str name, value;
    while (text.n > 0) {
        if (!next_param(&text, &name, &value)) {
            return false;
        }
    }
    return true;
}

struct str forwarded_param(struct str element, struct str name)
{
    struct str found = STR_NONE, key, value;
    while (element.n > 0) {
        if (!next_param(&element, &key, &value)) {
            return STR_NONE;
        }
        if (str_ieq(key, name)) {
            if (found.p) {
                return STR_NONE;
            }
            found = value;
        }
    }
    if (found.n >= 2 && found.p[0] == '"') {
        return (struct str){found.p + 1, found.n - 2};
    }
    return found;
}

/* -- lists -- */

void forwarded_begin(struct forwarded *f, const struct http_head *head, struct str name)
{
    *f = (struct forwarded){.head = head, .name = name, .fields = head->field_count};
    f->elements = str_ieq(name, STR("Forwarded"));
}

/* The comma before the last entry of rest; NULL: rest is one entry. */
static const char *last_comma(const struct forwarded *f)
{
    struct str rest = f->rest;
    const char *end = rest.p + rest.n, *last = memrchr(rest.p, ',', rest.n);
    for (const char *comma = last; f->elements && comma && end - comma <= ENTRY_MAX;
         comma = memrchr(rest.p, ',', (size_t)(comma - rest.p))) {
        if (is_element((struct str){comma + 1, (size_t)(end - comma - 1)})) {
            return comma;
        }
    }
    /* No element at all ends here, unless it is the whole list. */
    return f->elements && rest.n <= ENTRY_MAX && is_element(rest) ? NULL : last;
}

bool forwarded_back(struct forwarded *f, struct str *entry)
{
    for (;;) {
        while (f->rest.n == 0) {
            if (f->fields == 0) {
                return false;
            }
            const struct http_field *field = &f->head->fields[--f->fields];
            f->rest = str_ieq(field->name, f->name) ? str_trim(field->value) : STR_NONE;
        }
        const char *end = f->rest.p + f->rest.n, *comma = last_comma(f);
        const char *begin = comma ? comma + 1 : f->rest.p;
        *entry = str_trim((struct str){begin, (size_t)(end - begin)});
        f->rest.n = comma ? (size_t)(comma - f->rest.p) : 0;
        if (entry->n > 0) {
            return true;
        }
    }
}
