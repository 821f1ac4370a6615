/* Reads a Range field. Everything that a client could use to make the server work more than it asks (many
 * ranges, overlapping ranges) is answered with the whole file, which the standard allows. */
#include <string.h>

#include "http/wire/range.h"

/* Digits as a number; one that is too large becomes the largest. False: there were none, or other characters.
 */
static bool read_position(struct str text, uint64_t *out)
{
    if (text.n == 0) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(text.p[i] - '0');
        *out = *out > (INT64_MAX - digit) / 10 ? (uint64_t)INT64_MAX : *out * 10 + digit;
    }
    return true;
}

enum one { ONE_MALFORMED, ONE_OUTSIDE, ONE_INSIDE };

static enum one read_one(struct str text, uint64_t size, struct range *out)
{
    const char *dash = memchr(text.p, '-', text.n);
    if (dash == NULL) {
        return ONE_MALFORMED;
    }
    struct str left = {text.p, (size_t)(dash - text.p)}, right = {dash + 1, text.n - left.n - 1};
    uint64_t first, last = INT64_MAX;
    if (left.n == 0) {
        uint64_t suffix;
        if (!read_position(right, &suffix)) {
            return ONE_MALFORMED;
        }
        if (suffix == 0 || size == 0) {
            return ONE_OUTSIDE;
        }
        *out = (struct range){suffix < size ? size - suffix : 0, size - 1};
        return ONE_INSIDE;
    }
    if (!read_position(left, &first) || (right.n > 0 && !read_position(right, &last)) || last < first) {
        return ONE_MALFORMED;
    }
    if (first >= size) {
        return ONE_OUTSIDE;
    }
    *out = (struct range){first, last < size ? last : size - 1};
    return ONE_INSIDE;
}

static bool overlaps(const struct range *ranges, size_t count, struct range range)
{
    for (size_t i = 0; i < count; i++) {
        if (range.first <= ranges[i].last && ranges[i].first <= range.last) {
            return true;
        }
    }
    return false;
}

enum range_result range_parse(struct str value, uint64_t size, struct range out[RANGE_MAX], size_t *count)
{
    struct str unit = STR("bytes="), piece;
    *count = 0;
    if (value.n < unit.n || !str_ieq((struct str){value.p, unit.n}, unit)) {
        return RANGE_WHOLE;
    }
    struct str rest = {value.p + unit.n, value.n - unit.n};
    size_t asked = 0;
    while (str_split(&rest, ',', &piece)) {
        piece = str_trim(piece);
        if (piece.n == 0) {
            continue; /* empty list elements are allowed */
        }
        struct range range;
        enum one one = read_one(piece, size, &range);
        if (one == ONE_MALFORMED || ++asked > RANGE_MAX) {
            return RANGE_WHOLE;
        }
        if (one == ONE_INSIDE) {
            if (overlaps(out, *count, range)) {
                return RANGE_WHOLE;
            }
            out[(*count)++] = range;
        }
    }
    if (asked == 0) {
        return RANGE_WHOLE;
    }
    return *count > 0 ? RANGE_PARTS : RANGE_UNSATISFIABLE;
}
