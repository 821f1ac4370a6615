/* Conditional requests, in the order that RFC 9110 13.2.2 prescribes: If-Match or else If-Unmodified-Since,
 * then If-None-Match or else If-Modified-Since; If-Range belongs to Range. Dates that are none are as if
 * absent. A field may come several times: together they are one list. */
#include "http/wire/conditional.h"
#include "http/wire/http_date.h"

/* Does this list of entity tags name etag? weak: W/"x" counts as "x". */
static bool list_names(struct str list, struct str etag, bool weak)
{
    const char *p = list.p, *end = list.p + list.n;
    while (p < end) {
        if (*p == ',' || *p == ' ' || *p == '\t') {
            p++;
            continue;
        }
        bool is_weak = end - p > 2 && p[0] == 'W' && p[1] == '/';
        const char *start = p + (is_weak ? 2 : 0), *close = start + 1;
        if (start == end || *start != '"') {
            return false; /* not a list of tags: what follows can't be trusted */
        }
        while (close < end && *close != '"') {
            close++;
        }
        if (close == end) {
            return false;
        }
        struct str tag = {start, (size_t)(close + 1 - start)};
        if ((weak || !is_weak) && str_eq(tag, etag)) {
            return true;
        }
        p = close + 1;
    }
    return false;
}

enum presence { ABSENT, NAMES, NAMES_NOT };

/* All fields of this name as one list of tags, or "*". */
static enum presence look_for(const struct http_head *head, struct str name, struct str etag, bool weak)
{
    enum presence found = ABSENT;
    for (size_t i = 0; i < head->field_count; i++) {
        if (!str_ieq(head->fields[i].name, name)) {
            continue;
        }
        struct str value = str_trim(head->fields[i].value);
        if (str_eq(value, STR("*")) || list_names(value, etag, weak)) {
            return NAMES;
        }
        found = NAMES_NOT;
    }
    return found;
}

static bool date_field(const struct http_head *head, struct str name, int64_t *seconds)
{
    const struct http_field *field = http_head_find(head, name);
    return field != NULL && http_date_parse(field->value, seconds);
}

enum condition conditional_check(const struct http_head *head, struct str etag, int64_t modified)
{
    int64_t date;
    enum presence match = look_for(head, STR("If-Match"), etag, false);
    if (match == NAMES_NOT) {
        return CONDITION_FAILED;
    }
    if (match == ABSENT && date_field(head, STR("If-Unmodified-Since"), &date) && modified > date) {
        return CONDITION_FAILED;
    }
    enum presence none_match = look_for(head, STR("If-None-Match"), etag, true);
    if (none_match == NAMES) {
        return CONDITION_NOT_MODIFIED;
    }
    if (none_match == ABSENT && date_field(head, STR("If-Modified-Since"), &date) && modified <= date) {
        return CONDITION_NOT_MODIFIED;
    }
    return CONDITION_GO;
}

bool conditional_range_holds(const struct http_head *head, struct str etag, int64_t modified)
{
    const struct http_field *field = http_head_find(head, STR("If-Range"));
    if (field == NULL) {
        return true;
    }
    int64_t date;
    if (http_date_parse(field->value, &date)) {
        return date == modified;
    }
    return str_eq(field->value, etag); /* a weak tag never holds: it does not equal ours */
}
