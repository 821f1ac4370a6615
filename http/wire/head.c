/* Looking into heads. Plain reading; any thread. */
#include "http/wire/head.h"

#include <string.h>

const struct http_field *http_head_find(const struct http_head *head, struct str name)
{
    for (size_t i = 0; i < head->field_count; i++) {
        if (str_ieq(head->fields[i].name, name)) {
            return &head->fields[i];
        }
    }
    return NULL;
}

bool http_lines_next(struct str *lines, struct http_field *field)
{
    struct str line;
    while (lines->n > 0 && str_split(lines, '\n', &line)) {
        const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
        if (colon) {
            line.n -= line.p[line.n - 1] == '\r';
            field->name = (struct str){line.p, (size_t)(colon - line.p)};
            field->value = str_trim((struct str){colon + 1, line.n - field->name.n - 1});
            return true;
        }
    }
    return false;
}

bool http_answer_has(const struct http_answer *answer, struct str name)
{
    struct str lines = answer->lines;
    struct http_field field;
    for (size_t i = 0; i < answer->field_count; i++) {
        if (str_ieq(answer->fields[i].name, name)) {
            return true;
        }
    }
    while (http_lines_next(&lines, &field)) {
        if (str_ieq(field.name, name)) {
            return true;
        }
    }
    return false;
}
