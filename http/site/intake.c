/* From a request's head to what is done with it: an answer of our own (file, redirect, error) or a request
 * for the workers. Loop thread; everything that outlives the call is copied
 * into the exchange's arena. */
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/answer/accounting.h"
#include "http/answer/answer.h"
#include "http/answer/exchange.h"
#include "http/content/static.h"
#include "http/net/conn.h"
#include "http/net/tls.h"
#include "http/site/basic_auth.h"
#include "http/site/params.h"
#include "http/site/route.h"
#include "http/site/rules.h"
#include "http/site/sites.h"
#include "http/upstream/upstream.h"

static enum intake_verdict take_script(struct exchange *x, const struct http_head *head,
                                       const struct route *route)
{
    struct request *r = &x->request;
    const struct http_settings *settings = x->http.site->settings;
    r->method = arena_dup(x->arena, head->method.p, head->method.n);
    /* What PHP calls the request's URI is the script's: PHP_SELF and the status page come from it. */
    struct str uri = route ? route->script_name : head->path;
    r->uri = arena_dup(x->arena, uri.p, uri.n);
    r->query = head->query.n ? arena_dup(x->arena, head->query.p, head->query.n) : "";
    r->script = route ? route->path.p : NULL;
    r->document_root = route ? route->root.p : settings->document_root;
    x->http.coding = CODING_IDENTITY;
    r->proto = head->proto;
    r->keep_alive = x->http.keep_alive;
    r->head_counts = x->http.head_only && (!x->http.target || x->http.target->ours);
    if (!r->method || !r->uri || !r->query || !http_params_fill(x, head, route)) {
        answer_error(x, 503);
        return INTAKE_ANSWER;
    }
    if (settings->compression) {
        const struct http_field *accept = http_head_find(head, STR("Accept-Encoding"));
        x->http.coding = compress_negotiate(settings, accept ? accept->value : STR_NONE);
    }
    return INTAKE_SCRIPT;
}

/* -- the decision -- */

static bool is_listed(const char *list, struct str method)
{
    struct str rest = str_of(list);
    for (size_t i = 0, end; i < rest.n; i = end + 1) {
        end = i + strcspn(rest.p + i, " ,\t");
        if (end > i && str_eq((struct str){rest.p + i, end - i}, method)) {
            return true;
        }
    }
    return false;
}

/* Files can only be read; scripts hear of every method that is not a proxy's business. */
static bool method_allowed(const struct exchange *x, struct str method, bool file)
{
    const char *methods = x->http.site->settings->methods;
    if (methods && *methods && !is_listed(methods, method)) {
        return false;
    }
    return file ? str_eq(method, STR("GET")) || str_eq(method, STR("HEAD"))
                : !str_eq(method, STR("CONNECT")) && !str_eq(method, STR("TRACE"));
}

static bool is_page(const char *path, struct str requested)
{
    return path && str_eq(str_of(path), requested);
}

static enum intake_verdict by_route(struct exchange *x, const struct http_head *head, bool foreign)
{
    struct route route;
    if (foreign) {
        route_assume(x->http.site->router, head, x->arena, &route);
    } else {
        route_resolve(x->http.site->router, head, x->arena, &route);
    }
    if (!method_allowed(x, head->method, route.kind == ROUTE_FILE)) {
        answer_method(x, route.kind == ROUTE_FILE);
        return INTAKE_ANSWER;
    }
    switch (route.kind) {
    case ROUTE_SCRIPT: return take_script(x, head, &route);
    case ROUTE_REDIRECT: answer_redirect(x, route.status, route.location); break;
    case ROUTE_ERROR: answer_error(x, route.status); break;
    case ROUTE_FILE:
        if (answer_new(x)) {
            static_answer(x->http.site->files, head, route.path, NULL, x->arena, x->delivery.answer);
        }
        break;
    }
    return INTAKE_ANSWER;
}

/* The rules of the host that is asked for are not those that the connection was made by: what is known of its
 * client was asked for somebody else, or not at all. The client tries again on a connection of its own. */
static bool is_misdirected(const struct exchange *x, const struct site_choice *choice)
{
    return x->delivery.conn->tls && tls_client_rule(x->delivery.conn->tls) != choice->client_rule;
}

/* Whose request it is, and whether this client may ask anything now. False: x has its answer. */
static bool admit(struct exchange *x, const struct http_head *head, const struct site_choice *choice)
{
    atomic_fetch_add_explicit(&x->loop->front->requests, 1, memory_order_relaxed);
    accounting_begin(x, head);
    x->http.head_only = str_eq(head->method, STR("HEAD"));
    http_conn_local(x->delivery.conn);
    client_resolve(x->http.site->trusted, &x->delivery.conn->peer, head->tls, head, &x->http.client);
    if (x->http.site->settings->sendfile_root || x->http.site->settings->error_pages_dir) {
        exchange_keep_head(x, head);
    }
    if (is_misdirected(x, choice)) {
        answer_error(x, 421);
        return false;
    }
    if (x->http.site->rate) {
        struct rate_verdict v = rate_limit_take(x->http.site->rate, &x->http.client.address, clock_us());
        if (!v.allowed) {
            answer_limited(x, &v);
            return false;
        }
    }
    return true;
}

/* What the site's rules leave: pages of the pool, files, scripts. */
static enum intake_verdict lead(struct exchange *x, const struct http_head *head)
{
    const struct pool_settings *pool = &x->http.site->conf->s;
    if (is_page(pool->ping_path, head->path) || is_page(pool->status_path, head->path)) {
        x->request.page = is_page(pool->ping_path, head->path) ? PAGE_PING : PAGE_STATUS;
        return take_script(x, head, NULL);
    }
    if (str_eq(head->path, STR("*"))) {
        answer_options(x);
        return INTAKE_ANSWER;
    }
    return by_route(x, head, x->http.foreign);
}

/* Refusals come before a password is asked for, and what sends clients elsewhere after it. */
static enum intake_verdict by_rules(struct exchange *x, const struct http_head *head)
{
    if (rules_refuse(x, head)) {
        return INTAKE_ANSWER;
    }
    switch (x->http.site->auth ? basic_auth_ask(x, head) : BASIC_AUTH_FREE) {
    case BASIC_AUTH_ANSWERED: return INTAKE_ANSWER;
    case BASIC_AUTH_ASKED: return INTAKE_ASKED;
    case BASIC_AUTH_FREE: break;
    }
    return rules_answer(x, head) ? INTAKE_ANSWER : lead(x, head);
}

static enum intake_verdict decide(struct exchange *x, const struct http_head *head)
{
    struct site_choice choice = sites_choose(x->loop->front->sites, head->host, head->path);
    x->http.site = choice.site;
    x->http.target = choice.target;
    x->http.foreign = choice.foreign;
    x->request.guest = choice.guest;
    return admit(x, head, &choice) ? by_rules(x, head) : INTAKE_ANSWER;
}

static enum intake_verdict decided(struct exchange *x, const struct http_head *head,
                                   enum intake_verdict verdict)
{
    if (verdict == INTAKE_ANSWER) {
        answer_page(x, head);
        accounting_head(x, head);
    }
    return verdict;
}

enum intake_verdict intake_again(struct exchange *x)
{
    return decided(x, x->http.head, by_rules(x, x->http.head));
}

enum intake_verdict intake_head(struct exchange *x, const struct http_head *head)
{
    return decided(x, head, decide(x, head));
}

int intake_submit(struct exchange *x)
{
    struct http_front *front = x->loop->front;
    struct request *r = &x->request;
    /* The whole body is here: PHP may as well know how long it is. */
    if (r->content_length < 0 && !http_params_length(r, x->http.body.total)) {
        answer_error(x, 503);
        return -1;
    }
    if (x->http.target) {
        x->delivery.submitted = true;
        int status = upstream_submit(x);
        if (status) {
            x->delivery.submitted = false;
            answer_error(x, status);
        }
        return status ? -1 : 0;
    }
    x->submission = (struct submission){.request = r, .done = reply_done, .expired = reply_expired};
    x->delivery.submitted = true;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    enum submit_result result = pool_submit(front->pool, &x->submission);
    if (result == SUBMIT_OK) {
        return 0;
    }
    atomic_fetch_sub_explicit(&x->refs, 1, memory_order_relaxed);
    x->delivery.submitted = false;
    atomic_fetch_add_explicit(&front->rejected, 1, memory_order_relaxed);
    log_limited(LEVEL_WARNING, "http: %s, a request was answered with 503",
                result == SUBMIT_FULL ? "the queue is full" : "this process is ending");
    answer_error(x, 503);
    return -1;
}
