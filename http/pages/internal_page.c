/* Pages of the internal listener. See the header. dashboard.html is part of the program. */
#include "http/pages/internal_page.h"

#include <string.h>
#include <unistd.h>

#include "engine/base/encoding.h"
#include "http/wire/wire.h"

/* clang-format off */
__asm__(".section .rodata\n"
        ".global http_dashboard, http_dashboard_n\n"
        "http_dashboard:\n"
        ".incbin \"http/pages/dashboard.html\"\n"
        "0: .balign 8\n"
        "http_dashboard_n:\n"
        ".quad 0b - http_dashboard\n"
        ".previous\n");
/* clang-format on */
extern const char http_dashboard[];
extern const uint64_t http_dashboard_n;

#define PROFILE_BODY_MAX (128u << 20)
#define POLICY                                                                                               \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "        \
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/* POST /restart?pool=NAME and POST /reload. The token's owner asks, and the supervisor looks at the token
 * once more; without one there are no orders, because any page in a browser on this machine could send them.
 */
static bool is_order(const struct http_head *head)
{
    return str_eq(head->path, STR("/restart")) || str_eq(head->path, STR("/reload"));
}

static void respond(struct buf *out, const struct http_head *head, int status, const char *type,
                    struct str body)
{
    wire_status(out, status, STR_NONE);
    buf_str(out, wire_date());
    buf_printf(out,
               "Content-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
               "X-Content-Type-Options: nosniff\r\nConnection: close\r\n",
               type, body.n);
    if (status == 401) {
        buf_text(out, "WWW-Authenticate: Bearer realm=\"tokiophp\"\r\n");
    } else if (status == 405) {
        buf_text(out, head && is_order(head) ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n");
    } else if (strncmp(type, "text/html", 9) == 0) {
        buf_text(out, "Content-Security-Policy: " POLICY "\r\nReferrer-Policy: no-referrer\r\n");
    }
    buf_text(out, "\r\n");
    if (!head || !str_eq(head->method, STR("HEAD"))) {
        buf_str(out, body);
    }
}

static const char only_for[] =
    "This page needs http.internal_token (INTERNAL_TOKEN), as Authorization: Bearer TOKEN or "
    "?token=TOKEN;\nwhere none is set, it is for callers on this machine.\n";

static void respond_status(struct buf *out, const struct http_head *head, int status)
{
    struct buf text = {0};
    buf_printf(&text, "%d %s\n", status, wire_reason(status));
    buf_text(&text, status == 401 || status == 403 ? only_for : "");
    respond(out, head, status, "text/plain; charset=utf-8", (struct str){text.p, text.n});
    buf_free(&text);
}

void internal_page_error(int status, struct buf *out)
{
    respond_status(out, NULL, status);
}

/* -- who may look -- */

/* In a time that tells nothing of where they differ. */
static bool equal_secret(struct str a, struct str b)
{
    unsigned char differ = a.n != b.n;
    for (size_t i = 0; i < b.n; i++) {
        differ |= (unsigned char)((a.n ? a.p[i % a.n] : 0) ^ b.p[i]);
    }
    return differ == 0;
}

static bool may_look(const struct http_head *head, struct str token)
{
    const struct http_field *field = http_head_find(head, STR("Authorization"));
    struct str rest = head->query, piece;
    if (field && field->value.n > 7 && str_ieq((struct str){field->value.p, 7}, STR("Bearer ")) &&
        equal_secret(str_trim((struct str){field->value.p + 7, field->value.n - 7}), token)) {
        return true;
    }
    while (rest.p && str_split(&rest, '&', &piece)) {
        char text[1024] = "";
        if (str_starts(piece, STR("token=")) && piece.n <= sizeof text &&
            equal_secret((struct str){text, url_decode((struct str){piece.p + 6, piece.n - 6}, text)},
                         token)) {
            return true;
        }
    }
    return false;
}

/* localhost, this machine's own name, or an address: other names are what a foreign web page could have made
 * up. */
static bool is_local_name(struct str host)
{
    struct str name = host;
    char own[256] = "";
    const char *colon = host.n && host.p[0] != '[' ? memchr(host.p, ':', host.n) : NULL;
    if (colon) {
        name.n = (size_t)(colon - host.p);
    }
    if (name.n > 1 && name.p[name.n - 1] == '.') {
        name.n--;
    }
    if (name.n == 0 || name.p[0] == '[' || str_ieq(name, STR("localhost"))) {
        return true;
    }
    if (gethostname(own, sizeof own - 1) == 0 && own[0]) {
        struct str label = {own, strcspn(own, ".")};
        if (str_ieq(name, str_of(own)) || str_ieq(name, label)) {
            return true;
        }
    }
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] != '.' && (name.p[i] < '0' || name.p[i] > '9')) {
            return false;
        }
    }
    return true;
}

/* -- what there is -- */

static bool wants_openmetrics(const struct http_head *head)
{
    const struct http_field *accept = http_head_find(head, STR("Accept"));
    struct str rest = accept ? accept->value : STR_NONE, piece;
    while (rest.p && str_split(&rest, ',', &piece)) {
        piece = str_trim(piece);
        if (str_starts(piece, STR("application/openmetrics-text")) && !str_ends(piece, STR("q=0"))) {
            return true;
        }
    }
    return false;
}

static void respond_page(const struct pool *pool, const struct http_head *head, enum server_page page,
                         struct buf *out)
{
    struct buf body = {0};
    const char *type = "text/plain";
    int status = pool_server_page(pool, page, &body, &type);
    if (body.failed) {
        respond_status(out, head, 500);
    } else {
        respond(out, head, status, type, (struct str){body.p ? body.p : "", body.n});
    }
    buf_free(&body);
}

static const struct page {
    struct str path;
    enum server_page page;
    bool for_all;
} pages[] = {
    {{"/health", 7}, SERVER_HEALTH, true},
    {{"/health/live", 12}, SERVER_LIVE, true},
    {{"/health/ready", 13}, SERVER_READY, true},
    {{"/metrics", 8}, SERVER_METRICS, true},
    {{"/status", 7}, SERVER_STATUS, false},
    {{"/config", 7}, SERVER_CONFIG, false},
    {{"/dashboard.json", 15}, SERVER_LIVE_NUMBERS, false},
    {{"/history.json", 13}, SERVER_HISTORY, false},
    {{"/scripts.json", 13}, SERVER_SCRIPTS, false},
};

static const struct page *find_page(struct str path)
{
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (str_eq(path, pages[i].path)) {
            return &pages[i];
        }
    }
    return NULL;
}

/* -- what can be asked for -- */

static const char needs_token[] = "Orders need http.internal_token: set one, and send it along.\n";

static void respond_text(struct buf *out, const struct http_head *head, int status, const char *text)
{
    respond(out, head, status, "text/plain; charset=utf-8", str_of(text));
}

static void obey(const struct pool *pool, const struct http_head *head, const char *token, struct buf *out)
{
    struct str rest = head->query, piece;
    char name[256] = "";
    while (rest.p && str_split(&rest, '&', &piece)) {
        if (str_starts(piece, STR("pool=")) && piece.n < sizeof name) {
            name[url_decode((struct str){piece.p + 5, piece.n - 5}, name)] = '\0';
        }
    }
    if (!str_eq(head->method, STR("POST"))) {
        respond_status(out, head, 405);
    } else if (!token || !*token) {
        respond_text(out, head, 403, needs_token);
    } else if (!may_look(head, str_of(token))) {
        respond_status(out, head, 401);
    } else {
        enum server_order order = str_eq(head->path, STR("/reload")) ? SERVER_RELOAD : SERVER_RESTART;
        bool done = pool_server_order(pool, order, name, token);
        respond_text(out, head, done ? 202 : 409,
                     done ? "asked for\n" : "not now, or there is no such pool\n");
    }
}

/* 0, or the status of the refusal. */
static int judge(const struct http_head *head, const struct page *page, struct str token,
                 const struct internal_caller *caller)
{
    bool for_all = page && page->for_all;
    if (!str_eq(head->method, STR("GET")) && !str_eq(head->method, STR("HEAD"))) {
        return 405;
    }
    if (token.n > 0) {
        return for_all || may_look(head, token) ? 0 : 401;
    }
    if (!for_all && !caller->here) {
        return 403;
    }
    return (caller->by_address || !for_all) && caller->here && !is_local_name(head->host) ? 421 : 0;
}

void internal_page(const struct pool *pool, const struct http_head *head, const char *token,
                   const struct internal_caller *caller, struct buf *out)
{
    const struct page *page = find_page(head->path);
    if (is_order(head)) {
        obey(pool, head, token, out);
        return;
    }
    int refused = judge(head, page, str_of(token), caller);
    if (refused) {
        respond_status(out, head, refused);
    } else if (str_eq(head->path, STR("/"))) {
        respond(out, head, 200, "text/html; charset=utf-8", (struct str){http_dashboard, http_dashboard_n});
    } else if (page) {
        bool open_metrics = page->page == SERVER_METRICS && wants_openmetrics(head);
        respond_page(pool, head, open_metrics ? SERVER_OPENMETRICS : page->page, out);
    } else {
        respond_status(out, head, 404);
    }
}

/* -- profiles -- */

static unsigned number_in(struct str piece, const char *name, unsigned now)
{
    uint64_t n;
    size_t length = strlen(name);
    return piece.n > length && memcmp(piece.p, name, length) == 0 &&
                   str_to_u64((struct str){piece.p + length, piece.n - length}, &n) && n < 100000
               ? (unsigned)n
               : now;
}

/* "last", "last=900": what is kept of the last hour, or of that time. */
static void read_last(struct str piece, struct internal_profile *profile)
{
    if (str_eq(piece, STR("last")) || str_eq(piece, STR("last="))) {
        profile->last = 3600;
    }
    profile->last = number_in(piece, "last=", profile->last);
}

/* False: a format that there is not. */
static bool read_profile(const struct http_head *head, struct internal_profile *profile, char name[256])
{
    struct str rest = head->query, piece;
    bool known = true;
    while (rest.p && str_split(&rest, '&', &piece)) {
        char word[32] = "";
        profile->seconds = number_in(piece, "seconds=", profile->seconds);
        profile->hz = number_in(piece, "hz=", profile->hz);
        read_last(piece, profile);
        if (str_starts(piece, STR("pool=")) && piece.n < 256) {
            name[url_decode((struct str){piece.p + 5, piece.n - 5}, name)] = '\0';
        }
        if (str_starts(piece, STR("format=")) && piece.n - 7 < sizeof word) {
            memcpy(word, piece.p + 7, piece.n - 7);
            known = profile_format_named(word, &profile->format);
        }
    }
    return known;
}

/* What is kept is there at once, and comes the same way. */
static int ask_profile(const struct pool *pool, const char *name, struct internal_profile *profile)
{
    if (profile->last > 0) {
        profile->seconds = 0;
        profile->hz = PROFILE_KEPT_HZ;
        return pool_server_profile(pool, name, profile->last, 0);
    }
    return profile->hz > 0 ? pool_server_profile(pool, name, profile->seconds, profile->hz) : -1;
}

bool internal_page_profile(const struct pool *pool, const struct http_head *head, const char *token,
                           const struct internal_caller *caller, struct internal_profile *profile,
                           struct buf *out)
{
    char name[256] = "";
    if (!str_eq(head->path, STR("/profile"))) {
        return false;
    }
    *profile = (struct internal_profile){.fd = -1, .seconds = 10, .hz = 99};
    int refused = judge(head, NULL, str_of(token), caller);
    if (refused) {
        respond_status(out, head, refused);
    } else if (!read_profile(head, profile, name)) {
        respond_text(out, head, 400, "format is folded, speedscope or pprof\n");
    } else if ((profile->fd = ask_profile(pool, name, profile)) < 0) {
        respond_text(out, head, 409, "there is no such pool, or these are no numbers for a profile\n");
    }
    return true;
}

void internal_page_profiled(const struct internal_profile *profile, const struct buf *folded, struct buf *out)
{
    struct buf body = {.failed = folded->failed, .limit = PROFILE_BODY_MAX};
    if (!body.failed) {
        profile_write((struct str){folded->p, folded->n}, profile->format, profile->hz, &body);
    }
    if (body.failed) {
        respond_status(out, NULL, 500);
    } else {
        respond(out, NULL, 200, profile_format_type(profile->format),
                (struct str){body.p ? body.p : "", body.n});
    }
    buf_free(&body);
}
