/* A file in place of a script's body (X-Accel-Redirect, X-Sendfile). The script has decided who gets it, so
 * what it says rules: its type, its tag, its words on caching. Of ours there is what only the sender knows:
 * ranges, conditions, codings, and the length. */
#include <string.h>

#include "http/answer/answer.h"
#include "http/answer/exchange.h"
#include "http/content/static.h"
#include "http/wire/http_date.h"

/* Said by the answer itself, whatever the script has set. */
static bool is_ours(struct str name)
{
    static const struct str names[] = {
        {"Content-Type", 12}, {"Content-Range", 13}, {"Accept-Ranges", 13}, {"Date", 4}, {"Server", 6},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_ieq(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* True of the file, not of the error that is sent instead of it. */
static bool is_of_file(struct str name)
{
    static const struct str names[] = {
        {"ETag", 4}, {"Last-Modified", 13}, {"Cache-Control", 13}, {"Expires", 7}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_ieq(name, names[i])) {
            return true;
        }
    }
    return str_starts(name, STR("Content-")) || str_starts(name, STR("content-"));
}

static struct str script_lines(const struct exchange *x)
{
    return (struct str){x->reply.lines.p, x->reply.lines.n};
}

static struct static_said said_of(const struct exchange *x)
{
    const struct reply *reply = &x->reply;
    struct static_said said = {.type = reply->type,
                               .etag = reply->etag,
                               .modified = -1,
                               .as_it_is = reply->has_coding || reply->no_transform,
                               .varies = reply->has_vary};
    struct str lines = script_lines(x);
    struct http_field field;
    while (http_lines_next(&lines, &field)) {
        if (str_ieq(field.name, STR("Last-Modified")) && !http_date_parse(field.value, &said.modified)) {
            said.modified = -1;
        }
    }
    return said;
}

/* A script's Last-Modified that is no date says nothing, and ours stands beside it: it is left out. */
static bool passes(const struct http_answer *answer, const struct http_field *field, bool dated)
{
    if (is_ours(field->name) || (answer->status >= 400 && is_of_file(field->name)) ||
        (answer->status == 304 && str_ieq(field->name, STR("Content-Encoding")))) {
        return false;
    }
    return dated || !str_ieq(field->name, STR("Last-Modified"));
}

static void add_lines(struct exchange *x, bool dated)
{
    struct str lines = script_lines(x);
    struct http_field field;
    char *text = arena_alloc(x->arena, lines.n + 1), *at = text;
    if (!text) {
        answer_error(x, 503);
        return;
    }
    for (const char *from = lines.p; http_lines_next(&lines, &field); from = lines.p) {
        size_t n = (size_t)(lines.p ? lines.p - from : x->reply.lines.p + x->reply.lines.n - from);
        if (passes(x->delivery.answer, &field, dated)) {
            at = mempcpy(at, from, n);
        }
    }
    x->delivery.answer->lines = (struct str){text, (size_t)(at - text)};
}

void answer_script_file(struct exchange *x)
{
    struct http_answer *answer = x->http.head && x->reply.file[0] ? answer_new(x) : NULL;
    if (!answer) {
        answer_error(x, 404);
        return;
    }
    const struct static_said said = said_of(x);
    static_answer(x->http.site->files, x->http.head, str_of(x->reply.file), &said, x->arena, answer);
    add_lines(x, said.modified >= 0);
}
