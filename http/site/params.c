/* The variables of a request. Most names and a few values are constants; the others are copied into the
 * arena. */
#include "http/site/params.h"

#include <string.h>

#include "http/answer/exchange.h"
#include "http/content/entity_tag.h"
#include "http/net/conn.h"
#include "http/net/tls.h"
#include "http/site/route.h"

/* Variables beside the header fields: see own_params() and client_params(). */
#define OWN_PARAMS 50

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

/* Variables' names are one to one with names of these characters. Of any other, a variable would be taken for
 * another field's: PHP makes an underscore of a dot and a blank, as CGI does of "-", so that "X.Real.Ip" and
 * "X_Real_Ip" would be the X-Real-Ip that a proxy vouches for. */
static bool has_variable_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c != '-' && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) {
            return false;
        }
    }
    return true;
}

/* A field that has no variable. HTTP_PROXY would be taken for a setting of libraries. */
static bool is_hidden(struct str name)
{
    return !has_variable_name(name) || str_ieq(name, STR("Proxy")) || str_ieq(name, STR("Content-Length")) ||
           str_ieq(name, STR("Transfer-Encoding"));
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

/* What the script is told of a field. */
static struct str value_for(struct exchange *x, const struct http_field *field)
{
    unsigned codings;
    bool none_match = str_ieq(field->name, STR("If-None-Match"));
    if (!x->http.site->settings->compression || (!none_match && !str_ieq(field->name, STR("If-Match")))) {
        return field->value;
    }
    struct str value = entity_tag_unmark(x->arena, field->value, &codings);
    x->http.tag_codings |= none_match ? codings : 0;
    return value.p ? value : field->value;
}

static bool field_params(struct exchange *x, const struct http_head *head)
{
    struct request *r = &x->request;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        if (is_hidden(field->name)) {
            continue;
        }
        struct str name = param_name(r->arena, field->name);
        if (!name.p) {
            return false;
        }
        struct str value = value_for(x, field);
        if (!joined(r, name, value) && !set_copy(r, name, value)) {
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

/* The port that the client asked: ours, unless a proxy speaks for it. */
static const char *server_port(struct exchange *x, struct str port)
{
    const struct client *client = &x->http.client;
    if (client->server_port) {
        return arena_u64(x->arena, client->server_port);
    }
    if (!client->scheme_said && !client->host.p) {
        return arena_u64(x->arena, x->delivery.conn->local_port);
    }
    return port.n ? arena_dup(x->arena, port.p, port.n) : client->https ? "443" : "80";
}

static bool client_params(struct exchange *x, const struct http_head *head)
{
    struct request *r = &x->request;
    struct conn *c = x->delivery.conn;
    struct str port = STR_NONE, host = x->http.client.host.p ? x->http.client.host : head->host;
    struct str name = host.n ? host_name(host, &port) : str_of(c->local_ip);
    r->server_name = arena_dup(r->arena, name.p, name.n);
    r->remote_ip = arena_dup(r->arena, x->http.client.ip, strlen(x->http.client.ip));
    return set_text(r, STR("REMOTE_ADDR"), r->remote_ip) &&
           set_text(r, STR("REMOTE_PORT"), arena_u64(r->arena, x->http.client.port)) &&
           set_text(r, STR("SERVER_ADDR"), arena_dup(r->arena, c->local_ip, strlen(c->local_ip))) &&
           set_text(r, STR("SERVER_PORT"), server_port(x, port)) &&
           set_text(r, STR("SERVER_NAME"), r->server_name) &&
           set_text(r, STR("REQUEST_SCHEME"), x->http.client.https ? "https" : "http") &&
           (!x->http.client.https || set_text(r, STR("HTTPS"), "on")) &&
           (!x->http.user ||
            (set_text(r, STR("REMOTE_USER"), x->http.user) && set_text(r, STR("AUTH_TYPE"), "Basic"))) &&
           (!c->tls || tls_params(c->tls, r) == 0);
}

/* "http://host?q" has an empty path, which is "/". */
static const char *request_uri(struct request *r, struct str target)
{
    return target.n && target.p[0] == '?' ? arena_join(r->arena, STR("/"), target)
                                          : arena_dup(r->arena, target.p, target.n);
}

static bool own_params(struct exchange *x, const struct http_head *head, const struct route *route)
{
    struct request *r = &x->request;
    static const char *const protocols[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"};
    const char *protocol = protocols[head->proto == 1000 ? 0 : head->proto == 1001 ? 1 : 2];
    bool ok =
        set_text(r, STR("GATEWAY_INTERFACE"), "CGI/1.1") && set_text(r, STR("SERVER_SOFTWARE"), "tokiophp") &&
        set_text(r, STR("REDIRECT_STATUS"), "200") && set_text(r, STR("SERVER_PROTOCOL"), protocol) &&
        set_text(r, STR("REQUEST_METHOD"), r->method) &&
        set_text(r, STR("REQUEST_URI"), request_uri(r, head->target)) &&
        set_text(r, STR("QUERY_STRING"), r->query) && set_text(r, STR("DOCUMENT_ROOT"), r->document_root);
    if (ok && !route && x->http.target) { /* a page of the other pool: it knows it by its name */
        return set_text(r, STR("SCRIPT_NAME"), r->uri) && set_text(r, STR("SCRIPT_FILENAME"), r->uri);
    }
    if (!ok || !route) {
        return ok;
    }
    if (route->path_info.n) {
        struct str root = str_of(r->document_root);
        ok = set_copy(r, STR("PATH_INFO"), route->path_info) &&
             set_text(r, STR("PATH_TRANSLATED"), arena_join(r->arena, root, route->path_info));
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

bool http_params_length(struct request *r, uint64_t n)
{
    r->content_length = (int64_t)n;
    return set_text(r, STR("CONTENT_LENGTH"), arena_u64(r->arena, n));
}

static bool content_params(struct request *r, const struct http_head *head)
{
    r->content_type = value_of(r, STR("CONTENT_TYPE"));
    r->cookie = value_of(r, STR("HTTP_COOKIE"));
    r->authorization = value_of(r, STR("HTTP_AUTHORIZATION"));
    r->content_length = head->content_length;
    return head->content_length <= 0 || http_params_length(r, (uint64_t)head->content_length);
}

bool http_params_fill(struct exchange *x, const struct http_head *head, const struct route *route)
{
    struct request *r = &x->request;
    r->param_size = head->field_count + OWN_PARAMS;
    r->params = arena_alloc(r->arena, r->param_size * sizeof *r->params);
    return r->params && field_params(x, head) && own_params(x, head, route) && client_params(x, head) &&
           content_params(r, head);
}
