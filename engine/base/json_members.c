/* A reader of JSON that keeps nothing. See the header. */
#include "engine/base/json_members.h"

struct reader {
    const char *at, *end;
    json_member *each;
    void *ctx;
    struct str names[JSON_DEPTH];
    size_t count;
    unsigned depth;
};

static bool read_value(struct reader *r, struct str *out);

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && memchr(" \t\r\n", *r->at, 4)) {
        r->at++;
    }
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c) {
        return false;
    }
    r->at++;
    return true;
}

/* Behind the opening quote; out: what is between the two. */
static bool read_text(struct reader *r, struct str *out)
{
    const char *from = r->at;
    while (r->at < r->end && *r->at != '"') {
        r->at += *r->at == '\\' ? 2 : 1;
    }
    if (r->at >= r->end) {
        return false;
    }
    *out = (struct str){from, (size_t)(r->at++ - from)};
    return true;
}

static bool read_object(struct reader *r)
{
    if (take(r, '}')) {
        return true;
    }
    do {
        struct str value;
        if (r->count == JSON_DEPTH || !take(r, '"') || !read_text(r, &r->names[r->count++]) ||
            !take(r, ':') || !read_value(r, &value)) {
            return false;
        }
        r->each(r->ctx, r->names, r->count, value);
        r->count--;
    } while (take(r, ','));
    return take(r, '}');
}

static bool read_list(struct reader *r)
{
    struct str value;
    if (take(r, ']')) {
        return true;
    }
    do {
        if (!read_value(r, &value)) {
            return false;
        }
    } while (take(r, ','));
    return take(r, ']');
}

/* A number, true, false or null. */
static bool read_word(struct reader *r)
{
    const char *from = r->at;
    while (r->at < r->end && !memchr(" \t\r\n,]}:\"[{", *r->at, 11)) {
        r->at++;
    }
    return r->at > from;
}

static bool read_value(struct reader *r, struct str *out)
{
    struct str text;
    bool good;
    skip_blanks(r);
    const char *from = r->at;
    if (r->depth == JSON_DEPTH) {
        return false;
    }
    r->depth++;
    if (take(r, '{')) {
        good = read_object(r);
    } else if (take(r, '[')) {
        good = read_list(r);
    } else {
        good = take(r, '"') ? read_text(r, &text) : read_word(r);
    }
    r->depth--;
    *out = (struct str){from, (size_t)(r->at - from)};
    return good;
}

bool json_members(struct str text, json_member *each, void *ctx)
{
    struct reader r = {.at = text.p, .end = text.p + text.n, .each = each, .ctx = ctx};
    struct str value;
    bool good = text.n && read_value(&r, &value);
    skip_blanks(&r);
    return good && r.at == r.end;
}
