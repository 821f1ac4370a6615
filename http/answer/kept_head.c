/* A request's head that outlives the loop's: in the exchange's arena, with all its texts. */
#include "http/answer/exchange.h"

void exchange_keep_head(struct exchange *x, const struct http_head *head)
{
    struct http_head *copy = x->http.head ? NULL : arena_alloc(x->arena, sizeof *copy);
    if (!copy) {
        return;
    }
    *copy = *head;
    struct str *texts[] = {&copy->method, &copy->target, &copy->path, &copy->query, &copy->host};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        texts[i]->p = texts[i]->p ? arena_dup(x->arena, texts[i]->p, texts[i]->n) : NULL;
    }
    for (size_t i = 0; i < copy->field_count; i++) {
        struct http_field *f = &copy->fields[i];
        f->name.p = arena_dup(x->arena, f->name.p, f->name.n);
        f->value.p = arena_dup(x->arena, f->value.n ? f->value.p : "", f->value.n);
        if (!f->name.p || !f->value.p) {
            return;
        }
    }
    x->http.head = copy;
}
