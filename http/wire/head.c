/* Looking into a request's head. Plain reading; any thread. */
#include "http/wire/head.h"

const struct http_field *http_head_find(const struct http_head *head, struct str name)
{
    for (size_t i = 0; i < head->field_count; i++) {
        if (str_ieq(head->fields[i].name, name)) {
            return &head->fields[i];
        }
    }
    return NULL;
}
