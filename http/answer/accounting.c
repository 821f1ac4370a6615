/* Ids, traces and times of requests, and the end of those that the loop answered by itself. See the header.
 */
#include "http/answer/accounting.h"

#include <string.h>

#include "engine/base/clock.h"
#include "http/net/conn.h"
#include "http/wire/base64.h"

/* -- who -- */

/* The value of a field that may come once; STR_NONE if it is not there, or twice. */
static struct str single(const struct http_head *head, struct str name)
{
    struct str value = STR_NONE;
    for (size_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].name.n == name.n && str_ieq(head->fields[i].name, name)) {
            if (value.p) {
                return STR_NONE;
            }
            value = head->fields[i].value;
        }
    }
    return value;
}

/* tracestate may be spread over several fields, which count as one list. */
static struct str trace_state(struct exchange *x, const struct http_head *head)
{
    struct str all = STR_NONE;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        if (!str_ieq(f->name, STR("tracestate"))) {
            continue;
        }
        char *text = arena_printf(x->arena, "%.*s%s%.*s", (int)all.n, all.p ? all.p : "", all.p ? "," : "",
                                  (int)f->value.n, f->value.p);
        if (!text) {
            return STR_NONE;
        }
        all = str_of(text);
    }
    return all;
}

void accounting_begin(struct exchange *x, const struct http_head *head)
{
    struct str parent = single(head, STR("traceparent"));
    x->request.times.accepted = clock_us();
    request_identify(&x->request, single(head, STR("x-request-id")), parent,
                     parent.p ? trace_state(x, head) : STR_NONE);
    if (x->http.site->settings->profile) {
        x->http.profile = str_eq(single(head, STR("x-profile")), STR("1"));
        x->http.tls_us = x->delivery.conn->tls_us;
    }
}

static void add_param(struct exchange *x, struct str name, struct str value)
{
    if (value.p) {
        request_param(&x->request, name, value); /* without memory the line says less */
    }
}

static struct str value_of(const struct http_head *head, struct str name)
{
    const struct http_field *field = http_head_find(head, name);
    return field ? field->value : STR_NONE;
}

/* Who a client says it is, as PHP says of those that a script hears: for answers that no PHP here makes. */
static const char *basic_user(struct exchange *x, struct str authorization)
{
    static const struct str scheme = {"Basic ", 6};
    bool basic = authorization.n > scheme.n && str_ieq((struct str){authorization.p, scheme.n}, scheme);
    struct str text =
        basic ? str_trim((struct str){authorization.p + scheme.n, authorization.n - scheme.n}) : STR_NONE;
    char *user = text.n ? arena_alloc(x->arena, text.n + 1) : NULL;
    ssize_t n = user ? base64_decode(text, (unsigned char *)user, text.n) : -1;
    if (n < 0) {
        return NULL;
    }
    user[n] = '\0';
    char *colon = strchr(user, ':');
    if (!colon) {
        return NULL;
    }
    *colon = '\0';
    return user;
}

void accounting_head(struct exchange *x, const struct http_head *head)
{
    struct request *r = &x->request;
    r->method = arena_dup(x->arena, head->method.p, head->method.n);
    if (!request_is_logged(r)) {
        return;
    }
    r->uri = arena_dup(x->arena, head->path.p ? head->path.p : "", head->path.n);
    r->query = arena_dup(x->arena, head->query.p ? head->query.p : "", head->query.n);
    r->query = r->query ? r->query : "";
    r->remote_ip = arena_dup(x->arena, x->http.client.ip, strlen(x->http.client.ip));
    r->auth_user = basic_user(x, value_of(head, STR("authorization")));
    add_param(x, STR("REQUEST_URI"), head->target);
    add_param(x, STR("HTTP_HOST"), head->host);
    add_param(x, STR("HTTP_USER_AGENT"), value_of(head, STR("user-agent")));
    add_param(x, STR("HTTP_REFERER"), value_of(head, STR("referer")));
    add_param(x, STR("HTTP_X_FORWARDED_FOR"), value_of(head, STR("x-forwarded-for")));
    if (x->delivery.conn->tls) {
        tls_params(x->delivery.conn->tls, r);
    }
}

/* -- what the client is told -- */

static bool shows_ids(const struct exchange *x)
{
    return x->http.site->settings->request_id_headers;
}

struct profile {
    const char *name;
    uint64_t us;
    bool known;
};

#define PROFILE_TIMES 6

static void profile_times(const struct exchange *x, struct profile out[PROFILE_TIMES])
{
    const struct request_times *t = &x->request.times;
    uint64_t now = clock_us();
    const struct profile all[PROFILE_TIMES] = {
        {"X-Profile-Total-Us", now - t->accepted, true},
        {"X-Profile-Queue-Us", t->started - t->queued, t->started && t->queued},
        {"X-Profile-PHP-Startup-Us", t->php_started - t->started, t->php_started != 0},
        {"X-Profile-Script-Us", t->script_done - t->php_started, t->php_started && t->script_done},
        {"X-Profile-PHP-Shutdown-Us", now - t->script_done, t->script_done != 0},
        {"X-Profile-TLS-Handshake-Us", x->http.tls_us, x->http.tls_us != 0},
    };
    memcpy(out, all, sizeof all);
}

/* "TLSv1.3" as the names of the other fields are written: TLSv1_3. */
static struct str tls_protocol(const struct exchange *x)
{
    const struct param *p = request_param_find(&x->request, STR("SSL_PROTOCOL"));
    char *text = p ? arena_dup(x->arena, p->value, p->value_len) : NULL;
    char *dot = text ? strchr(text, '.') : NULL;
    if (dot) {
        *dot = '_';
    }
    return str_of(text);
}

static void add_field(struct exchange *x, struct str name, const char *value)
{
    struct http_answer *answer = x->delivery.answer;
    if (value && answer->field_count < sizeof answer->fields / sizeof answer->fields[0]) {
        answer->fields[answer->field_count++] = (struct http_field){name, str_of(value)};
    }
}

static void answer_fields(struct exchange *x)
{
    char parent[TRACEPARENT_SIZE];
    struct profile times[PROFILE_TIMES];
    const struct request_trace *trace = &x->request.trace;
    if (shows_ids(x) && trace->id[0] && !http_answer_has(x->delivery.answer, STR("X-Request-ID"))) {
        request_traceparent(&x->request, parent);
        add_field(x, STR("X-Request-ID"), trace->id);
        add_field(x, STR("traceparent"), arena_dup(x->arena, parent, sizeof parent - 1));
    }
    if (x->http.profile) {
        profile_times(x, times);
        for (int i = 0; i < PROFILE_TIMES; i++) {
            if (times[i].known) {
                add_field(x, str_of(times[i].name),
                          arena_printf(x->arena, "%llu", (unsigned long long)times[i].us));
            }
        }
        add_field(x, STR("X-Profile-TLS-Protocol"), tls_protocol(x).p);
    }
}

void accounting_answer(struct exchange *x, bool bare)
{
    struct request *r = &x->request;
    if (!bare) {
        answer_fields(x);
    }
    if (x->delivery.submitted) {
        return; /* counted when both halves are over */
    }
    x->delivery.answered = true;
    if (!r->times.accepted) {
        r->times.accepted = clock_us();
    }
    if (!r->remote_ip && request_is_logged(r)) {
        char ip[64];
        sock_ip(&x->delivery.conn->peer, ip, sizeof ip);
        r->remote_ip = arena_dup(x->arena, ip, strlen(ip));
    }
}

/* Those that the script has not set, in one piece. */
static void add_ids(const struct exchange *x, struct buf *lines)
{
    static const char id_name[] = "X-Request-ID: ", parent_name[] = "traceparent: ";
    const struct request *r = &x->request;
    char text[sizeof id_name + sizeof r->trace.id + sizeof parent_name + TRACEPARENT_SIZE + 4], *at = text;
    if (!x->reply.has_request_id) {
        at = mempcpy(at, id_name, sizeof id_name - 1);
        at = mempcpy(at, r->trace.id, strlen(r->trace.id));
        at = mempcpy(at, "\r\n", 2);
    }
    if (!x->reply.has_traceparent) {
        at = mempcpy(at, parent_name, sizeof parent_name - 1);
        request_traceparent(r, at);
        at = mempcpy(at + TRACEPARENT_SIZE - 1, "\r\n", 2);
    }
    buf_add(lines, text, (size_t)(at - text));
}

void accounting_lines(struct exchange *x, struct buf *lines)
{
    struct profile times[PROFILE_TIMES];
    if (shows_ids(x)) {
        add_ids(x, lines);
    }
    if (!x->http.profile) {
        return;
    }
    profile_times(x, times);
    for (int i = 0; i < PROFILE_TIMES; i++) {
        if (times[i].known) {
            buf_printf(lines, "%s: %llu\r\n", times[i].name, (unsigned long long)times[i].us);
        }
    }
    struct str protocol = tls_protocol(x);
    if (protocol.p) {
        buf_printf(lines, "X-Profile-TLS-Protocol: %.*s\r\n", (int)protocol.n, protocol.p);
    }
}

/* -- the end -- */

/* Both halves are over: what the client got. A response whose head has not left is none: 499 says that its
 * client did not wait for it, 400 that the request never came to its end. */
static void settle(struct exchange *x)
{
    struct request *r = &x->request;
    const struct reply *reply = &x->reply;
    const struct delivery *d = &x->delivery;
    uint64_t wire = reply->written + d->wire, head = reply->interim_n + reply->head_n;
    wire -= d->refused < wire ? d->refused : wire;
    uint64_t sent = wire > head ? wire - head : 0;
    uint64_t body = reply->body_n;
    bool head_left = x->http.h2 ? d->head_out : wire > reply->interim_n;
    if (d->answer) {
        body = d->answer->no_body || x->http.head_only ? 0 : d->answer->body_n;
        r->status = d->answer->status;
    } else if (reply->status) {
        r->status = reply->status;
    }
    if (!d->whole && !head_left) {
        r->status = d->submitted ? 499 : 400;
        body = 0;
    }
    r->body_sent = d->whole || sent > body ? body : sent; /* framing counts for nothing */
    r->times.finished = d->left_us;
}

void accounting_left(struct exchange *x, bool whole)
{
    x->delivery.whole = whole;
    x->delivery.left_us = clock_us();
    if (!x->delivery.submitted) {
        x->delivery.answered |= x->request.method != NULL; /* or is it a body that broke off? */
    } else if (!x->http.target && atomic_exchange(&x->handover.fate, FATE_LOOP) == FATE_WORKER) {
        settle(x);
        pool_account(x->request.pool, x->loop->counters, &x->request);
    }
}

bool accounting_settled(struct request *r)
{
    struct exchange *x = exchange_of_request(r);
    if (x->reply.delivered) {
        r->status = x->reply.status;
        r->body_sent = x->reply.body_n;
        return true;
    }
    if (atomic_exchange(&x->handover.fate, FATE_WORKER) == FATE_OPEN) {
        return false;
    }
    settle(x);
    return true;
}

void accounting_over(struct exchange *x)
{
    struct request *r = &x->request;
    if (x->delivery.answered) {
        settle(x);
        if (x->http.target && r->authorization && request_is_logged(r)) {
            r->auth_user = basic_user(x, str_of(r->authorization));
        }
        pool_account(r->pool, x->loop->counters, r);
    }
}

void accounting_refused(struct conn *c, int status)
{
    struct request r;
    char ip[64];
    sock_ip(&c->peer, ip, sizeof ip);
    request_init(&r, c->loop->front->pool, NULL, NULL, NULL);
    request_identify(&r, STR_NONE, STR_NONE, STR_NONE);
    r.status = status;
    r.proto = 0;
    r.remote_ip = ip;
    r.times.accepted = clock_us();
    pool_account(r.pool, c->loop->counters, &r);
    request_release(&r);
}
