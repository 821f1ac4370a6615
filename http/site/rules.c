/* Redirects and refusals by rule. See the header. */
#include "http/site/rules.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/pattern.h"
#include "http/answer/answer.h"
#include "http/answer/exchange.h"
#include "http/answer/live_reload.h"
#include "http/http_settings.h"
#include "http/wire/host_pattern.h"
#include "http/wire/path.h"
#include "http/wire/wire.h"

#define REDIRECT_STATUS 302 /* one that no browser remembers; another stands in front of the target */
#define ACME_FOLDER     "/.well-known/acme-challenge/"

/* "301 /new/ *" without the blank: where to, and with which status. */
struct redirect {
    int status;
    struct str target;
};

static struct redirect read_redirect(const char *value)
{
    struct str text = str_trim(str_of(value)), rest = text, word;
    uint64_t status;
    if (str_word(&rest, &word) && word.n == 3 && str_to_u64(word, &status)) {
        return (struct redirect){(int)status, str_trim(rest)};
    }
    return (struct redirect){REDIRECT_STATUS, text};
}

/* -- at the start -- */

static bool is_one_star(struct str pattern)
{
    const char *star = memchr(pattern.p, '*', pattern.n);
    return star && !memchr(star + 1, '*', pattern.n - (size_t)(star + 1 - pattern.p));
}

/* Is this place of a URL before its path begins? A target that is a path has no host. */
static bool is_in_host(struct str target, const char *place)
{
    if (target.p[0] == '/') {
        return false;
    }
    const char *host = (const char *)memmem(target.p, target.n, "://", 3) + 3;
    return place < host || !memchr(host, '/', (size_t)(place - host));
}

static const char *redirect_fault(struct str pattern, const char *value)
{
    struct redirect to = read_redirect(value);
    bool known =
        to.status == 301 || to.status == 302 || to.status == 303 || to.status == 307 || to.status == 308;
    if (!known) {
        return "the status is none of 301, 302, 303, 307 and 308";
    }
    if (!to.target.n || (to.target.p[0] != '/' && !str_starts(to.target, STR("http://")) &&
                         !str_starts(to.target, STR("https://")))) {
        return "expected a path or a URL, and a status in front of it if it is not 302";
    }
    if (!wire_value_ok(to.target) || memchr(to.target.p, ' ', to.target.n)) {
        return "the target has characters that no URL has";
    }
    const char *star = memchr(to.target.p, '*', to.target.n);
    if (star && (!is_one_star(to.target) || !is_one_star(pattern))) {
        return "a * in the target stands for what the pattern's * stood for: each has one";
    }
    if (star && is_in_host(to.target, star)) {
        return "a * may not be part of the host";
    }
    return NULL;
}

static int check_pairs(const char *name, const struct setting_pair *pair,
                       const char *(*fault_of)(struct str pattern, const char *value), char *error,
                       size_t size)
{
    for (; pair; pair = pair->next) {
        struct str pattern = str_of(pair->key);
        const char *fault = pattern_fault(pattern);
        fault = fault ? fault : fault_of(pattern, pair->value);
        if (fault) {
            snprintf(error, size, "%s[%s] = %s: %s", name, pair->key, pair->value, fault);
            return -1;
        }
    }
    return 0;
}

/* 0: what is said is neither. */
static int deny_status(const char *value)
{
    uint64_t status;
    if (settings_bool(value) == 1) {
        return 403;
    }
    return str_to_u64(str_of(value), &status) && (status == 403 || status == 404 || status == 410)
               ? (int)status
               : 0;
}

static const char *deny_fault(struct str pattern, const char *value)
{
    (void)pattern;
    return deny_status(value) ? NULL : "expected yes, 403, 404 or 410";
}

int rules_check(const struct http_settings *settings, char *error, size_t size)
{
    return check_pairs("http.deny", settings->deny, deny_fault, error, size) != 0 ||
                   check_pairs("http.redirect", settings->redirect, redirect_fault, error, size) != 0
               ? -1
               : 0;
}

/* -- at a request -- */

static void redirect_https(struct exchange *x, const struct http_head *head)
{
    struct str host = host_pattern_name(head->host), target = head->target;
    bool origin = target.n && target.p[0] == '/'; /* not the absolute form, and no "*" */
    struct str path = origin ? target : head->path;
    bool query = !origin && head->query.n;
    const char *url =
        arena_printf(x->arena, "https://%.*s%.*s%s%.*s", (int)host.n, host.p, (int)path.n, path.p,
                     query ? "?" : "", query ? (int)head->query.n : 0, query ? head->query.p : "");
    if (url) {
        answer_redirect(x, 308, str_of(url));
    } else {
        answer_error(x, 503);
    }
}

/* What the pattern's one star stands for in the text that it matches; without a slash in front if there is
 * one already, because "//name" is another host. */
static struct str star_of(struct str pattern, struct str text, bool slash)
{
    const char *star = memchr(pattern.p, '*', pattern.n);
    struct str kept = {text.p + (star - pattern.p), text.n - (pattern.n - 1)};
    return slash && str_starts(kept, STR("/")) ? (struct str){kept.p + 1, kept.n - 1} : kept;
}

static void redirect(struct exchange *x, const struct http_head *head, const struct setting_pair *pair,
                     struct str path)
{
    struct redirect to = read_redirect(pair->value);
    char kept[3 * PATH_TEXT_MAX + 1];
    struct str target = to.target, pattern = str_of(pair->key), insert = {"", 0}, tail = {"", 0};
    const char *star = memchr(target.p, '*', target.n);
    if (star) {
        bool slash = star > target.p && star[-1] == '/';
        insert = (struct str){kept, path_encode(star_of(pattern, path, slash), kept, sizeof kept)};
        tail = (struct str){star + 1, target.n - (size_t)(star + 1 - target.p)};
        target.n = (size_t)(star - target.p);
    }
    bool query = head->query.n && !memchr(to.target.p, '?', to.target.n);
    const char *url = arena_printf(x->arena, "%.*s%.*s%.*s%s%.*s", (int)target.n, target.p, (int)insert.n,
                                   insert.p, (int)tail.n, tail.p, query ? "?" : "",
                                   query ? (int)head->query.n : 0, query ? head->query.p : "");
    if (url) {
        answer_redirect(x, to.status, str_of(url));
    } else {
        answer_error(x, 503);
    }
}

static const struct setting_pair *first_match(const struct setting_pair *pair, struct str path)
{
    while (pair && !pattern_match(str_of(pair->key), path)) {
        pair = pair->next;
    }
    return pair;
}

/* In text, of PATH_TEXT_MAX + 1 bytes. STR_NONE: nothing is served for such a path. */
static struct str readable_path(const struct http_head *head, char *text)
{
    int n = path_text(head->path, text);
    return n > 0 ? (struct str){text, (size_t)n} : STR_NONE;
}

/* These two are apart: whoever has no such rules pays for no buffer. */
static __attribute__((noinline)) bool refuse_by_path(struct exchange *x, const struct http_head *head)
{
    const struct setting_pair *rules = x->http.site->settings->deny;
    char text[PATH_TEXT_MAX + 1];
    struct str path = readable_path(head, text);
    const struct setting_pair *found = path.p ? first_match(rules, path) : NULL;
    if (found) {
        answer_error(x, deny_status(found->value));
    }
    return found != NULL;
}

static __attribute__((noinline)) bool redirect_by_path(struct exchange *x, const struct http_head *head)
{
    const struct setting_pair *rules = x->http.site->settings->redirect;
    char text[PATH_TEXT_MAX + 1];
    struct str path = readable_path(head, text);
    const struct setting_pair *found = path.p ? first_match(rules, path) : NULL;
    if (found) {
        redirect(x, head, found, path);
    }
    return found != NULL;
}

bool rules_refuse(struct exchange *x, const struct http_head *head)
{
    const struct http_settings *settings = x->http.site->settings;
    if (settings->redirect_https && !x->http.client.https && head->host.n &&
        !str_starts(head->path, STR(ACME_FOLDER))) {
        redirect_https(x, head);
        return true;
    }
    return settings->deny && refuse_by_path(x, head);
}

bool rules_answer(struct exchange *x, const struct http_head *head)
{
    return live_reload_answer(x, head) || (x->http.site->settings->redirect && redirect_by_path(x, head));
}
