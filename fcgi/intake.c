/* From a complete head to a struct request: its pairs are copied into the request's arena in one pass, name
 * and value each with the NUL that C wants, which takes no more room than their lengths did. Worker's thread.
 */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/must.h"
#include "fcgi/exchange.h"
#include "fcgi/params.h"
#include "fcgi/script.h"

/* Variables that are fields of the request too, by length: of most variables nothing is compared. */
static const struct field {
    const char *name;
    size_t offset;
} fields[][3] = {
    [9] = {{"PHP_VALUE", offsetof(struct request, php_value)}},
    [11] = {{"HTTP_COOKIE", offsetof(struct request, cookie)},
            {"SERVER_NAME", offsetof(struct request, server_name)}},
    [12] = {{"QUERY_STRING", offsetof(struct request, query)},
            {"CONTENT_TYPE", offsetof(struct request, content_type)}},
    [14] = {{"REQUEST_METHOD", offsetof(struct request, method)}},
    [15] = {{"PHP_ADMIN_VALUE", offsetof(struct request, php_admin_value)}},
    [17] = {{"REQUEST_BODY_FILE", offsetof(struct request, body_file)}},
    [18] = {{"HTTP_AUTHORIZATION", offsetof(struct request, authorization)}},
};

int64_t intake_length(const char *text)
{
    struct str digits = str_of(text ? text : "");
    uint64_t n;

    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9') {
            return -1;
        }
    }
    if (!digits.n) {
        return -1;
    }
    return str_to_u64(digits, &n) && n <= INT64_MAX ? (int64_t)n : INT64_MAX;
}

static void note_field(struct request *r, const struct param *p)
{
    if (p->name_len >= sizeof(fields) / sizeof(fields[0])) {
        return;
    }
    for (const struct field *f = fields[p->name_len]; f->name; f++) {
        if (memcmp(p->name, f->name, p->name_len) == 0) {
            memcpy((char *)r + f->offset, &p->value, sizeof(p->value));
            return;
        }
    }
}

/* A variable of this name never reaches a script: HTTP_PROXY would be taken for a setting of http clients. */
static bool is_hidden(const struct param *p)
{
    return p->name_len == 0 || (p->name_len == 10 && memcmp(p->name, "HTTP_PROXY", 10) == 0);
}

static struct param role_param(uint16_t role)
{
    static const char *const roles[] = {"RESPONDER", "AUTHORIZER", "FILTER"};
    const char *name = roles[role - FCGI_WIRE_RESPONDER];

    return (struct param){"FCGI_ROLE", name, 9, (uint32_t)strlen(name)};
}

static char *put_text(char **room, struct str text)
{
    char *at = *room;

    memcpy(at, text.p, text.n);
    at[text.n] = '\0';
    *room += text.n + 1;
    return at;
}

/* A value ends at a NUL, as it does for php-fpm, and a name with one in it is no name. */
static void take_pair(struct request *r, char **room, struct str name, struct str value)
{
    struct param *p = &r->params[r->param_count];

    p->name = put_text(room, name);
    p->name_len = (uint32_t)strlen(p->name);
    p->value = put_text(room, value);
    p->value_len = (uint32_t)strlen(p->value);
    if (p->name_len == name.n && !is_hidden(p)) {
        note_field(r, p);
        r->param_count++;
    }
}

static int take_params(struct request *r, const struct fcgi_head *head)
{
    struct str rest = fcgi_head_params(head), name, value;
    char *room = arena_alloc(r->arena, rest.n);

    r->param_size = head->pairs + 8; /* the role, and script.c adds a few */
    r->params = arena_alloc(r->arena, r->param_size * sizeof(*r->params));
    if (!room || !r->params) {
        return -1;
    }
    r->params[r->param_count++] = role_param(head->role);
    while (fcgi_wire_pair(&rest, &name, &value)) {
        take_pair(r, &room, name, value);
    }
    MUST(!rest.n);
    return 0;
}

/* FastCGI has no interim answers, and HEAD no body that could be counted. http/upstream/upstream_request.c
 * says with these variables, which are no script's business, that it takes both; and that it counts and logs
 * the request, for which it may want to know more than the answer. */
static int take_offers(struct fcgi_exchange *x)
{
    static const struct str offers[] = {{"TOKIO_INTERIM", 13}, {"TOKIO_HEAD", 10}, {"TOKIO_COUNTED", 13}};
    struct request *r = &x->request;
    const char *said[3];

    if (x->conn->kind != FCGI_INTERNAL) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        said[i] = params_get(r, offers[i]);
        if (said[i] && params_set(r, offers[i], NULL) < 0) {
            return -1;
        }
    }
    x->may_hint = said[0] != NULL;
    r->head_counts = said[1] != NULL;
    r->counted_elsewhere = said[2] != NULL;
    r->usage_wanted = said[2] && strcmp(said[2], "usage") == 0;
    return 0;
}

int intake_request(struct fcgi_exchange *x)
{
    struct fcgi_conn *c = x->conn;
    struct request *r = &x->request;
    bool pages_only = c->kind == FCGI_STATUS;

    request_init(r, c->front->pool, &fcgi_request_io, x, x->arena);
    r->times.accepted = clock_us();
    r->proto = 1000; /* what php-fpm tells PHP whatever the client speaks: redirects of POST stay 302 */
    r->keep_alive = x->keep;
    r->remote_ip = arena_dup(x->arena, c->ip, strlen(c->ip));
    if (!r->remote_ip || take_params(r, &c->head) < 0 || take_offers(x) < 0) {
        return -1;
    }
    /* Behind another process of ours the peer is nobody; who the client is has been settled there. */
    const char *client = c->kind == FCGI_INTERNAL ? params_get(r, STR("REMOTE_ADDR")) : NULL;
    r->remote_ip = client ? client : r->remote_ip;
    r->content_length = intake_length(params_get(r, STR("CONTENT_LENGTH")));
    if (r->content_length < 0 && body_visibly_empty(x)) {
        r->content_length = 0;
    }
    if (script_resolve(r, &c->front->policy, &cgi_rules, pages_only) < 0) {
        return -1;
    }
    r->document_root = params_get(r, STR("DOCUMENT_ROOT"));
    return 0;
}
