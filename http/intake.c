/* From a request's head to what is done with it: an answer of our own (file, redirect, error) or a request
 * for the workers, with the variables that PHP sees. Loop thread; everything that outlives the call is copied
 * into the exchange's arena. */
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/must.h"
#include "http/account.h"
#include "http/conn.h"
#include "http/error_pages.h"
#include "http/exchange.h"
#include "http/h1_parse.h"
#include "http/route.h"
#include "http/static.h"
#include "http/tls.h"
#include "http/upstream.h"
#include "http/wire.h"

/* Variables beside the header fields: see own_params() and client_params(). */
#define OWN_PARAMS 48

/* Fields that most requests have: their variables' names need no memory. */
static const struct {
    struct str field;
    struct str param;
} usual[] = {
#define USUAL(field, param)                                                                                  \
    {                                                                                                        \
        {field, sizeof(field) - 1},                                                                          \
        {                                                                                                    \
            param, sizeof(param) - 1                                                                         \
        }                                                                                                    \
    }
    USUAL("host", "HTTP_HOST"),
    USUAL("user-agent", "HTTP_USER_AGENT"),
    USUAL("accept", "HTTP_ACCEPT"),
    USUAL("accept-encoding", "HTTP_ACCEPT_ENCODING"),
    USUAL("accept-language", "HTTP_ACCEPT_LANGUAGE"),
    USUAL("cookie", "HTTP_COOKIE"),
    USUAL("connection", "HTTP_CONNECTION"),
    USUAL("cache-control", "HTTP_CACHE_CONTROL"),
    USUAL("referer", "HTTP_REFERER"),
    USUAL("origin", "HTTP_ORIGIN"),
    USUAL("authorization", "HTTP_AUTHORIZATION"),
    USUAL("content-type", "CONTENT_TYPE"),
    USUAL("content-length", "CONTENT_LENGTH"),
    USUAL("x-requested-with", "HTTP_X_REQUESTED_WITH"),
    USUAL("x-forwarded-for", "HTTP_X_FORWARDED_FOR"),
    USUAL("x-forwarded-proto", "HTTP_X_FORWARDED_PROTO"),
    USUAL("x-request-id", "HTTP_X_REQUEST_ID"),
    USUAL("traceparent", "HTTP_TRACEPARENT"),
    USUAL("if-none-match", "HTTP_IF_NONE_MATCH"),
    USUAL("if-modified-since", "HTTP_IF_MODIFIED_SINCE"),
    USUAL("upgrade-insecure-requests", "HTTP_UPGRADE_INSECURE_REQUESTS"),
    USUAL("sec-fetch-site", "HTTP_SEC_FETCH_SITE"),
    USUAL("sec-fetch-mode", "HTTP_SEC_FETCH_MODE"),
    USUAL("sec-fetch-dest", "HTTP_SEC_FETCH_DEST"),
    USUAL("sec-fetch-user", "HTTP_SEC_FETCH_USER"),
    USUAL("sec-ch-ua", "HTTP_SEC_CH_UA"),
    USUAL("te", "HTTP_TE"),
    USUAL("priority", "HTTP_PRIORITY"),
#undef USUAL
};

/* -- answers of our own -- */

/* The last way out when there is no memory even for an error. */
static struct http_answer no_memory = {.status = 503, .no_body = true};

static void add_field(struct http_answer *answer, struct str name, struct str value)
{
    if (answer != &no_memory && answer->field_count < sizeof answer->fields / sizeof answer->fields[0] &&
        value.p) {
        answer->fields[answer->field_count++] = (struct http_field){name, value};
    }
}

static struct http_answer *new_answer(struct exchange *x)
{
    if (x->answer && x->answer->release) {
        x->answer->release(x->answer->held);
    }
    x->answer = arena_alloc(x->arena, sizeof *x->answer);
    if (!x->answer) {
        x->answer = &no_memory;
        return NULL;
    }
    memset(x->answer, 0, sizeof *x->answer);
    return x->answer;
}

void intake_error(struct exchange *x, int status)
{
    struct http_answer *answer = new_answer(x);
    if (!answer) {
        return;
    }
    answer->status = status;
    answer->no_body = x->head_only;
    if (status >= 400) {
        add_field(answer, STR("Cache-Control"), STR("no-store"));
    }
    if (status == 503) {
        add_field(answer, STR("Retry-After"), STR("1"));
    } else if (status == 405) {
        const char *methods = x->site->settings->methods;
        add_field(answer, STR("Allow"), str_of(methods ? methods : "GET, HEAD, POST"));
    }
}

void intake_seal(struct exchange *x)
{
    if (x->answer != &no_memory) {
        error_pages_fill(x->site->pages, x->head, x->arena, x->answer);
        security_headers_add(&x->site->security, x->client.https, x->answer);
    }
    account_answer(x, x->answer == &no_memory);
}

static void answer_redirect(struct exchange *x, int status, struct str location)
{
    intake_error(x, status);
    add_field(x->answer, STR("Location"), location);
}

static void answer_limited(struct exchange *x, const struct rate_verdict *v)
{
    intake_error(x, 429);
    const char *reset = arena_printf(x->arena, "%u", v->reset_s);
    add_field(x->answer, STR("Retry-After"), str_of(reset));
    add_field(x->answer, STR("X-RateLimit-Limit"), str_of(arena_printf(x->arena, "%u", v->limit)));
    add_field(x->answer, STR("X-RateLimit-Remaining"), str_of(arena_printf(x->arena, "%u", v->remaining)));
    add_field(x->answer, STR("X-RateLimit-Reset"), str_of(reset));
    atomic_fetch_add_explicit(&x->loop->front->rejected, 1, memory_order_relaxed);
    pool_count_event(x->loop->front->pool, EVENT_RATE_LIMITED);
    log_limited(LEVEL_NOTICE, "http: rate limit reached by %s", x->client.ip);
}

static void replace_field(struct http_answer *answer, struct str name, struct str value)
{
    for (size_t i = 0; i < answer->field_count; i++) {
        if (str_ieq(answer->fields[i].name, name)) {
            answer->fields[i].value = value;
            return;
        }
    }
    add_field(answer, name, value);
}

void intake_script_lines(struct exchange *x)
{
    struct str rest = {x->lines.p, x->lines.n}, line;
    while (rest.p && str_split(&rest, '\n', &line)) {
        const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
        if (!colon) {
            continue;
        }
        struct str name = {line.p, (size_t)(colon - line.p)};
        struct str value = str_trim((struct str){colon + 1, line.n - name.n - 1});
        if (value.n && value.p[value.n - 1] == '\r') {
            value.n--;
        }
        if (!str_ieq(name, STR("Date")) && !str_ieq(name, STR("Server"))) {
            replace_field(x->answer, name, value);
        }
    }
}

/* -- variables -- */

/* name must outlive the request. */
static bool set(struct request *r, struct str name, const char *value, size_t n)
{
    if (!value || r->param_count >= r->param_size) {
        return false;
    }
    r->params[r->param_count++] = (struct param){name.p, value, (uint32_t)name.n, (uint32_t)n};
    return true;
}

static bool set_copy(struct request *r, struct str name, struct str value)
{
    return set(r, name, arena_dup(r->arena, value.n ? value.p : "", value.n), value.n);
}

static bool set_text(struct request *r, struct str name, const char *value)
{
    return value && set(r, name, value, strlen(value));
}

/* "Accept-Language" -> "HTTP_ACCEPT_LANGUAGE"; STR_NONE = no memory. */
static struct str param_name(struct arena *arena, struct str field)
{
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        if (usual[i].field.n == field.n && str_ieq(usual[i].field, field)) {
            return usual[i].param;
        }
    }
    char *name = arena_alloc(arena, field.n + 6);
    if (!name) {
        return STR_NONE;
    }
    memcpy(name, "HTTP_", 5);
    for (size_t i = 0; i < field.n; i++) {
        char c = field.p[i];
        name[5 + i] = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    name[5 + field.n] = '\0';
    return (struct str){name, field.n + 5};
}

/* A field that has no variable: "a_b" would be taken for "a-b", and HTTP_PROXY for a setting of libraries. */
static bool is_hidden(struct str name)
{
    return memchr(name.p, '_', name.n) || str_ieq(name, STR("Proxy")) ||
           str_ieq(name, STR("Content-Length")) || str_ieq(name, STR("Transfer-Encoding"));
}

/* A field that came twice: one variable with both values, as the RFC joins them. */
static bool joined(struct request *r, struct str name, struct str value)
{
    for (size_t i = 0; i < r->param_count; i++) {
        struct param *p = &r->params[i];
        if (p->name_len == name.n && memcmp(p->name, name.p, name.n) == 0) {
            const char *between = str_eq(name, STR("HTTP_COOKIE")) ? "; " : ", ";
            char *text = arena_printf(r->arena, "%s%s%.*s", p->value, between, (int)value.n, value.p);
            if (text) {
                p->value = text;
                p->value_len = (uint32_t)strlen(text);
            }
            return true;
        }
    }
    return false;
}

static bool field_params(struct request *r, const struct http_head *head)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        if (is_hidden(field->name)) {
            continue;
        }
        struct str name = param_name(r->arena, field->name);
        if (!name.p) {
            return false;
        }
        if (joined(r, name, field->value)) {
            continue;
        }
        if (!set_copy(r, name, field->value)) {
            return false;
        }
    }
    return true;
}

static struct str host_name(struct str host, struct str *port)
{
    *port = STR_NONE;
    size_t end = host.n;
    for (size_t i = host.n; i > 0 && host.p[i - 1] != ']'; i--) {
        if (host.p[i - 1] == ':') {
            end = i - 1;
            *port = (struct str){host.p + i, host.n - i};
            break;
        }
    }
    return (struct str){host.p, end};
}

static bool client_params(struct exchange *x, const struct http_head *head)
{
    struct request *r = &x->request;
    struct conn *c = x->conn;
    struct str port, host = x->client.host.p ? x->client.host : head->host;
    struct str name = host.n ? host_name(host, &port) : str_of(c->local_ip);
    if (!host.n) {
        port = STR_NONE;
    }
    const char *server_port = x->client.https == head->tls ? arena_printf(r->arena, "%u", c->local_port)
                              : port.n                     ? arena_dup(r->arena, port.p, port.n)
                              : x->client.https            ? "443"
                                                           : "80";
    r->server_name = arena_dup(r->arena, name.p, name.n);
    r->remote_ip = arena_dup(r->arena, x->client.ip, strlen(x->client.ip));
    return set_text(r, STR("REMOTE_ADDR"), r->remote_ip) &&
           set_text(r, STR("REMOTE_PORT"), arena_printf(r->arena, "%u", x->client.port)) &&
           set_text(r, STR("SERVER_ADDR"), arena_dup(r->arena, c->local_ip, strlen(c->local_ip))) &&
           set_text(r, STR("SERVER_PORT"), server_port) && set_text(r, STR("SERVER_NAME"), r->server_name) &&
           set_text(r, STR("REQUEST_SCHEME"), x->client.https ? "https" : "http") &&
           (!x->client.https || set_text(r, STR("HTTPS"), "on")) && (!c->tls || tls_params(c->tls, r) == 0);
}

static bool own_params(struct exchange *x, const struct http_head *head, const struct route *route)
{
    struct request *r = &x->request;
    static const char *const protocols[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"};
    const char *protocol = protocols[head->proto == 1000 ? 0 : head->proto == 1001 ? 1 : 2];
    bool ok =
        set_text(r, STR("GATEWAY_INTERFACE"), "CGI/1.1") && set_text(r, STR("SERVER_SOFTWARE"), "tokiophp") &&
        set_text(r, STR("REDIRECT_STATUS"), "200") && set_text(r, STR("SERVER_PROTOCOL"), protocol) &&
        set_text(r, STR("REQUEST_METHOD"), r->method) && set_copy(r, STR("REQUEST_URI"), head->target) &&
        set_text(r, STR("QUERY_STRING"), r->query) && set_text(r, STR("DOCUMENT_ROOT"), r->document_root);
    if (ok && !route && x->target) { /* a page of the other pool: it knows it by its name */
        return set_text(r, STR("SCRIPT_NAME"), r->uri) && set_text(r, STR("SCRIPT_FILENAME"), r->uri);
    }
    if (!ok || !route) {
        return ok;
    }
    if (route->path_info.n) {
        struct str root = str_of(r->document_root);
        ok = set_copy(r, STR("PATH_INFO"), route->path_info) &&
             set_text(r, STR("PATH_TRANSLATED"),
                      arena_printf(r->arena, "%s%.*s", root.p, (int)route->path_info.n, route->path_info.p));
    }
    return ok && set_text(r, STR("SCRIPT_FILENAME"), r->script) &&
           set_copy(r, STR("SCRIPT_NAME"), route->script_name) &&
           set_copy(r, STR("DOCUMENT_URI"), route->script_name);
}

static const char *value_of(const struct request *r, struct str name)
{
    const struct param *p = request_param_find(r, name);
    return p ? p->value : NULL;
}

static bool content_params(struct request *r, const struct http_head *head)
{
    r->content_type = value_of(r, STR("CONTENT_TYPE"));
    r->cookie = value_of(r, STR("HTTP_COOKIE"));
    r->authorization = value_of(r, STR("HTTP_AUTHORIZATION"));
    r->content_length = head->content_length;
    return head->content_length <= 0 ||
           set_text(r, STR("CONTENT_LENGTH"),
                    arena_printf(r->arena, "%lld", (long long)head->content_length));
}

/* A head that a script's X-Accel-Redirect can be answered with later. */
static void keep_head(struct exchange *x, const struct http_head *head)
{
    struct http_head *copy = arena_alloc(x->arena, sizeof *copy);
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
    x->head = copy;
}

static enum intake_verdict take_script(struct exchange *x, const struct http_head *head,
                                       const struct route *route)
{
    struct request *r = &x->request;
    const struct http_settings *settings = x->site->settings;
    r->method = arena_dup(x->arena, head->method.p, head->method.n);
    /* What PHP calls the request's URI is the script's: PHP_SELF and the status page come from it. */
    struct str uri = route ? route->script_name : head->path;
    r->uri = arena_dup(x->arena, uri.p, uri.n);
    r->query = head->query.n ? arena_dup(x->arena, head->query.p, head->query.n) : "";
    r->script = route ? route->path.p : NULL;
    r->document_root = route ? route->root.p : settings->document_root;
    x->coding = CODING_IDENTITY;
    r->proto = head->proto;
    r->keep_alive = x->keep_alive;
    r->param_size = head->field_count + OWN_PARAMS;
    r->params = arena_alloc(x->arena, r->param_size * sizeof *r->params);
    if (!r->method || !r->uri || !r->query || !r->params || !field_params(r, head) ||
        !own_params(x, head, route) || !client_params(x, head) || !content_params(r, head)) {
        intake_error(x, 503);
        return INTAKE_ANSWER;
    }
    if (settings->compression) {
        const struct http_field *accept = http_head_find(head, STR("Accept-Encoding"));
        x->coding = compress_negotiate(settings, accept ? accept->value : STR_NONE);
    }
    return INTAKE_SCRIPT;
}

/* -- the decision -- */

static bool method_allowed(const struct http_settings *settings, struct str method)
{
    struct str rest = str_of(settings->methods), piece;
    if (!rest.n) {
        return true;
    }
    for (size_t i = 0; i <= rest.n;) {
        size_t end = i;
        while (end < rest.n && rest.p[end] != ' ' && rest.p[end] != ',') {
            end++;
        }
        piece = (struct str){rest.p + i, end - i};
        if (piece.n && str_eq(piece, method)) {
            return true;
        }
        i = end + 1;
    }
    return false;
}

static bool is_page(const char *path, struct str requested)
{
    return path && str_eq(str_of(path), requested);
}

static enum intake_verdict by_route(struct exchange *x, const struct http_head *head, bool foreign)
{
    struct route route;
    if (foreign) {
        route_assume(x->site->router, head, x->arena, &route);
    } else {
        route_resolve(x->site->router, head, x->arena, &route);
    }
    switch (route.kind) {
    case ROUTE_SCRIPT: return take_script(x, head, &route);
    case ROUTE_REDIRECT: answer_redirect(x, route.status, route.location); break;
    case ROUTE_ERROR: intake_error(x, route.status); break;
    case ROUTE_FILE:
        if (new_answer(x)) {
            static_answer(x->site->files, head, route.path, x->arena, x->answer);
        }
        break;
    }
    return INTAKE_ANSWER;
}

static enum intake_verdict decide(struct exchange *x, const struct http_head *head)
{
    struct http_front *front = x->loop->front;
    atomic_fetch_add_explicit(&front->requests, 1, memory_order_relaxed);
    account_begin(x, head);
    x->head_only = str_eq(head->method, STR("HEAD"));
    if (!http_conn_local(x->conn)) {
        intake_error(x, 503);
        return INTAKE_ANSWER;
    }
    client_resolve(front->trusted, &x->conn->peer, head->tls, head, &x->client);
    struct site_choice choice =
        sites_choose(front->sites, x->client.host.p ? x->client.host : head->host, head->path);
    const struct pool_settings *pool = &choice.site->conf->s;
    x->site = choice.site;
    x->target = choice.target;
    if (x->site->settings->sendfile_root || x->site->settings->error_pages_dir) {
        keep_head(x, head);
    }
    if (!method_allowed(x->site->settings, head->method) || str_eq(head->method, STR("CONNECT")) ||
        str_eq(head->method, STR("TRACE"))) {
        intake_error(x, 405);
        return INTAKE_ANSWER;
    }
    if (front->rate) {
        struct rate_verdict v = rate_limit_take(front->rate, &x->client.address, x->loop->now_us);
        if (!v.allowed) {
            answer_limited(x, &v);
            return INTAKE_ANSWER;
        }
    }
    if (is_page(pool->ping_path, head->path) || is_page(pool->status_path, head->path)) {
        x->request.page = is_page(pool->ping_path, head->path) ? PAGE_PING : PAGE_STATUS;
        return take_script(x, head, NULL);
    }
    if (str_eq(head->path, STR("*"))) {
        intake_error(x, 204);
        return INTAKE_ANSWER;
    }
    return by_route(x, head, choice.foreign);
}

enum intake_verdict intake_head(struct exchange *x, const struct http_head *head)
{
    enum intake_verdict verdict = decide(x, head);
    if (verdict == INTAKE_ANSWER && x->answer != &no_memory) {
        /* Now, because it depends on the head, which is not kept. */
        error_pages_fill(x->site->pages, head, x->arena, x->answer);
    }
    if (verdict == INTAKE_ANSWER) {
        account_head(x, head);
    }
    return verdict;
}

int intake_submit(struct exchange *x)
{
    struct http_front *front = x->loop->front;
    struct request *r = &x->request;
    if (r->content_length < 0) {
        /* The whole body is here: PHP may as well know how long it is. */
        char *length = arena_printf(x->arena, "%llu", (unsigned long long)x->body.total);
        if (!set_text(r, STR("CONTENT_LENGTH"), length)) {
            intake_error(x, 503);
            return -1;
        }
        r->content_length = (int64_t)x->body.total;
    }
    if (x->target) {
        x->submitted = true;
        int status = upstream_submit(x);
        if (status) {
            x->submitted = false;
            intake_error(x, status);
        }
        return status ? -1 : 0;
    }
    x->submission = (struct submission){.request = r, .done = reply_done, .expired = reply_expired};
    x->submitted = true;
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    enum submit_result result = pool_submit(front->pool, &x->submission);
    if (result == SUBMIT_OK) {
        return 0;
    }
    atomic_fetch_sub_explicit(&x->refs, 1, memory_order_relaxed);
    x->submitted = false;
    x->fd = -1;
    atomic_store_explicit(&x->lend, LEND_LOOP, memory_order_relaxed);
    atomic_fetch_add_explicit(&front->rejected, 1, memory_order_relaxed);
    log_limited(LEVEL_WARNING, "http: %s, a request was answered with 503",
                result == SUBMIT_FULL ? "the queue is full" : "this process is ending");
    intake_error(x, 503);
    return -1;
}
