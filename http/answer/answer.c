/* The answers that need no worker. What each one looks like is here, when it is given is not. */
#include "http/answer/answer.h"

#include <string.h>

#include "engine/base/log.h"
#include "http/answer/accounting.h"
#include "http/answer/exchange.h"
#include "http/content/error_pages.h"

/* The last way out when there is no memory even for an error. */
static struct http_answer no_memory = {.status = 503, .no_body = true};

static void add_field(struct http_answer *answer, struct str name, struct str value)
{
    if (answer != &no_memory && answer->field_count < sizeof answer->fields / sizeof answer->fields[0] &&
        value.p) {
        answer->fields[answer->field_count++] = (struct http_field){name, value};
    }
}

/* Whoever must not see ids in fields must not see them in pages either. */
static const char *shown_id(const struct exchange *x)
{
    return x->http.site->settings->request_id_headers ? x->request.trace.id : "";
}

struct http_answer *answer_new(struct exchange *x)
{
    if (x->delivery.answer && x->delivery.answer->release) {
        x->delivery.answer->release(x->delivery.answer->held);
    }
    x->delivery.answer = arena_alloc(x->arena, sizeof *x->delivery.answer);
    if (!x->delivery.answer) {
        x->delivery.answer = &no_memory;
        return NULL;
    }
    memset(x->delivery.answer, 0, sizeof *x->delivery.answer);
    return x->delivery.answer;
}

void answer_error(struct exchange *x, int status)
{
    struct http_answer *answer = answer_new(x);
    if (!answer) {
        return;
    }
    answer->status = status;
    answer->no_body = x->http.head_only;
    if (status >= 400) {
        add_field(answer, STR("Cache-Control"), STR("no-store"));
    }
    if (status == 503) {
        add_field(answer, STR("Retry-After"), STR("1"));
    }
}

/* The list for Allow: what http.methods lets through, of a file only what reads. */
static struct str allowed(struct exchange *x, bool file)
{
    const char *set = x->http.site->settings->methods;
    struct str rest = str_of(set && *set ? set : "GET HEAD POST PUT PATCH DELETE OPTIONS");
    char *text = arena_alloc(x->arena, 2 * rest.n + 1), *at = text;
    for (size_t i = 0, end; text && i < rest.n; i = end + 1) {
        end = i + strcspn(rest.p + i, " ,\t");
        struct str method = {rest.p + i, end - i};
        bool reads = str_eq(method, STR("GET")) || str_eq(method, STR("HEAD"));
        if (method.n && (reads || !file)) {
            at = mempcpy(at, ", ", at > text ? 2 : 0);
            at = mempcpy(at, method.p, method.n);
        }
    }
    return text ? (struct str){text, (size_t)(at - text)} : STR_NONE;
}

void answer_method(struct exchange *x, bool file)
{
    answer_error(x, 405);
    add_field(x->delivery.answer, STR("Allow"), allowed(x, file));
}

void answer_challenge(struct exchange *x, const char *realm)
{
    answer_error(x, 401);
    add_field(x->delivery.answer, STR("WWW-Authenticate"),
              str_of(arena_printf(x->arena, "Basic realm=\"%s\", charset=\"UTF-8\"", realm)));
}

void answer_options(struct exchange *x)
{
    answer_error(x, 204);
    add_field(x->delivery.answer, STR("Allow"), allowed(x, false));
}

void answer_seal(struct exchange *x)
{
    if (x->delivery.answer != &no_memory) {
        error_pages_fill(x->http.site->pages, x->http.head, shown_id(x), x->arena, x->delivery.answer);
        added_fields_add(&x->http.site->added, x->http.client.https, x->delivery.answer);
    }
    accounting_answer(x, x->delivery.answer == &no_memory);
}

void answer_redirect(struct exchange *x, int status, struct str location)
{
    answer_error(x, status);
    add_field(x->delivery.answer, STR("Location"), location);
}

void answer_limited(struct exchange *x, const struct rate_verdict *v)
{
    answer_error(x, 429);
    const char *reset = arena_printf(x->arena, "%u", v->reset_s);
    add_field(x->delivery.answer, STR("Retry-After"), str_of(reset));
    add_field(x->delivery.answer, STR("X-RateLimit-Limit"), str_of(arena_printf(x->arena, "%u", v->limit)));
    add_field(x->delivery.answer, STR("X-RateLimit-Remaining"),
              str_of(arena_printf(x->arena, "%u", v->remaining)));
    add_field(x->delivery.answer, STR("X-RateLimit-Reset"), str_of(reset));
    atomic_fetch_add_explicit(&x->loop->front->rejected, 1, memory_order_relaxed);
    request_count_event(&x->request, EVENT_RATE_LIMITED);
    log_limited(LEVEL_NOTICE, "http: rate limit reached by %s", x->http.client.ip);
}

void answer_page(struct exchange *x, const struct http_head *head)
{
    if (x->delivery.answer != &no_memory) {
        error_pages_fill(x->http.site->pages, head, shown_id(x), x->arena, x->delivery.answer);
    }
}
