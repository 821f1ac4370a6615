/* See live_reload.h. */
#include "http/answer/live_reload.h"

#include <string.h>

#include "engine/engine.h"
#include "http/answer/answer.h"
#include "http/answer/exchange.h"

static void answer_text(struct exchange *x, struct str type, const char *text)
{
    struct http_answer *answer = answer_new(x);
    struct http_piece *piece = answer ? arena_alloc(x->arena, sizeof(*piece)) : NULL;
    if (!piece || !text) {
        answer_error(x, 503);
        return;
    }
    *piece = (struct http_piece){.p = text, .fd = -1, .n = strlen(text)};
    answer->status = 200;
    answer->fields[answer->field_count++] = (struct http_field){STR("Content-Type"), type};
    answer->fields[answer->field_count++] = (struct http_field){STR("Cache-Control"), STR("no-store")};
    answer->pieces = piece;
    answer->piece_count = 1;
    answer->body_n = piece->n;
    answer->no_body = x->http.head_only;
}

bool live_reload_answer(struct exchange *x, const struct http_head *head)
{
    const char *path = x->http.site->settings->live_reload;
    size_t n = path ? strlen(path) : 0;
    if (n == 0 || !str_starts(head->path, (struct str){path, n})) {
        return false;
    }
    struct str rest = {head->path.p + n, head->path.n - n};
    if (rest.n == 0) {
        answer_text(x, STR("text/event-stream"),
                    arena_printf(x->arena, "retry: 1000\ndata: %llu\n\n",
                                 (unsigned long long)pool_started_wall_us(x->loop->front->pool)));
        return true;
    }
    if (str_eq(rest, STR(".js"))) {
        answer_text(x, STR("text/javascript"),
                    arena_printf(x->arena,
                                 "(() => { let seen; new EventSource(\"%s\").onmessage = event => {\n"
                                 "  if (seen && seen !== event.data) location.reload();\n"
                                 "  seen = event.data; }; })();\n",
                                 path));
        return true;
    }
    return false;
}

struct str live_reload_line(struct exchange *x)
{
    const struct reply *reply = &x->reply;
    const char *path = x->http.site->settings->live_reload;
    struct str html = STR("text/html");
    bool fits = path && *path && reply->state != REPLY_NONE && reply->type.n >= html.n &&
                str_ieq((struct str){reply->type.p, html.n}, html) && !reply->has_coding &&
                reply->length < 0 && !reply->no_body && !reply->file && !reply->refused;

    return fits ? str_of(arena_printf(x->arena, "\n<script src=\"%s.js\" async></script>\n", path))
                : STR_NONE;
}
