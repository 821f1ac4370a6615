/* See pattern.h. */
#include "engine/base/pattern.h"

#include <string.h>

/* On a mismatch the last '*' takes one character more: no recursion, at most pattern times text steps. */
bool pattern_match(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*') {
        p++;
    }
    return p == pattern.n;
}

/* The first segment of a path, which moves on. */
static struct str take_segment(struct str *path)
{
    const char *slash = path->n > 0 ? memchr(path->p, '/', path->n) : NULL;
    size_t n = slash ? (size_t)(slash - path->p) : path->n;
    struct str segment = {path->p, n};

    path->p += slash ? n + 1 : n;
    path->n -= slash ? n + 1 : n;
    return segment;
}

static bool is_any_folders(struct str segment)
{
    return segment.n == 2 && segment.p[0] == '*' && segment.p[1] == '*';
}

/* As pattern_match, by segments: on a mismatch the last "**" takes one folder more. below: it is enough that
 * the path ends before the pattern does. */
static bool match_segments(struct str pattern, struct str path, bool below)
{
    struct str after = STR_NONE, from = STR_NONE;

    while (path.n > 0) {
        struct str rest = pattern, left = path;
        struct str wanted = take_segment(&rest), is = take_segment(&left);

        if (is_any_folders(wanted)) {
            after = pattern = rest;
            from = path;
            if (rest.n == 0 || below) {
                return true;
            }
        } else if (pattern.n > 0 && pattern_match(wanted, is)) {
            pattern = rest;
            path = left;
        } else if (after.p && from.p[0] != '.') {
            take_segment(&from);
            pattern = after;
            path = from;
        } else {
            return false;
        }
    }
    return below ? pattern.n > 0 : pattern.n == 0 || is_any_folders(pattern);
}

bool pattern_file_match(struct str pattern, struct str path)
{
    return match_segments(pattern, path, false);
}

bool pattern_file_below(struct str pattern, struct str folder)
{
    return match_segments(pattern, folder, true);
}

bool pattern_list_match(const char *patterns, struct str text)
{
    struct str rest = patterns ? str_of(patterns) : STR_NONE, pattern;

    while (str_word(&rest, &pattern)) {
        if (pattern_match(pattern, text)) {
            return true;
        }
    }
    return false;
}

const char *pattern_fault(struct str pattern)
{
    return pattern.n && (pattern.p[0] == '/' || pattern.p[0] == '*') ? NULL : "a pattern begins with / or *";
}
