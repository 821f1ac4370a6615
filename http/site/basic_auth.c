/* Names and passwords. See the header. */
#include "http/site/basic_auth.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/pattern.h"
#include "http/answer/answer.h"
#include "http/answer/exchange.h"
#include "http/content/brief_cache.h"
#include "http/content/helper_pool.h"
#include "http/content/password_file.h"
#include "http/content/password_hash.h"
#include "http/net/conn.h"
#include "http/net/limits.h"
#include "http/net/pem.h"
#include "http/wire/base64.h"
#include "http/wire/path.h"
#include "http/wire/wire.h"

#define KNOWN          1024                        /* that have fitted are remembered */
#define KNOWN_US       (600 * CLOCK_US_PER_SECOND) /* so long */
#define ATTEMPTS       60 /* of an address that are held against a hash, in each ... */
#define ATTEMPT_WINDOW (60 * CLOCK_US_PER_SECOND)
#define ADDRESSES      16384

struct rule {
    struct str pattern;                 /* the settings' */
    struct password_file *file;         /* NULL: nobody is asked here */
    unsigned char key[PASSWORD_DIGEST]; /* of what has fitted here */
    struct rule *next;
};

struct basic_auth {
    struct rule *rules;
    struct brief_cache *known;   /* keys: digests; the value is nothing */
    struct rate_limit *attempts; /* by address */
    pthread_mutex_t lock;        /* guards asked, and what hangs on it */
    struct question *asked;      /* with the helpers */
};

/* What somebody says who he is. */
struct credentials {
    struct str user;
    const char *password;
    size_t password_n;
    char text[2 * PASSWORD_MAX + 2];
};

/* A password on its way to a helper and back; holds a reference to its exchange. Requests that say the same
 * meanwhile, as those of one page do, wait for what is found out for the first. */
struct question {
    struct helper_task task;     /* first: a task is one of these */
    struct loop_message message; /* to the loop again */
    struct question *next;       /* asked, or others */
    struct question *others;     /* that say the same */
    struct basic_auth *auth;
    struct exchange *x;
    const struct password_file *file;
    struct credentials said;
    unsigned char digest[PASSWORD_DIGEST];
    bool fits;
};

/* -- at the start -- */

static bool is_off(const char *value)
{
    return settings_bool(value) == 0;
}

static struct password_file *read_file(const char *path, char *error, size_t size)
{
    char fault[200];
    if (path[0] != '/') {
        snprintf(error, size, "expected the path of a file, or no");
        return NULL;
    }
    struct str text = pem_load(path);
    if (!text.p) {
        snprintf(error, size, "%s", strerror(errno));
        return NULL;
    }
    struct password_file *file = password_file_read(text, fault, sizeof fault);
    if (!file) {
        snprintf(error, size, "%s", fault);
    }
    return file;
}

int basic_auth_check(const struct http_settings *settings, char *error, size_t size)
{
    for (const struct setting_pair *pair = settings->basic_auth; pair; pair = pair->next) {
        char text[250];
        const char *fault = pattern_fault(str_of(pair->key));
        struct password_file *file =
            fault || is_off(pair->value) ? NULL : read_file(pair->value, text, sizeof text);
        password_file_free(file);
        if (fault || (!file && !is_off(pair->value))) {
            snprintf(error, size, "http.basic_auth[%s] = %s: %s", pair->key, pair->value,
                     fault ? fault : text);
            return -1;
        }
    }
    const char *realm = settings->basic_auth_realm;
    if (realm && (strpbrk(realm, "\"\\") || !wire_value_ok(str_of(realm)))) {
        snprintf(error, size, "http.basic_auth_realm = %s: a quote or a backslash may not be in it", realm);
        return -1;
    }
    return 0;
}

void basic_auth_files(const struct http_settings *settings, void (*each)(const char *path, void *ctx),
                      void *ctx)
{
    for (const struct setting_pair *pair = settings->basic_auth; pair; pair = pair->next) {
        if (!is_off(pair->value)) {
            each(pair->value, ctx);
        }
    }
}

void basic_auth_destroy(struct basic_auth *auth)
{
    if (!auth) {
        return;
    }
    for (struct rule *rule = auth->rules, *next; rule; rule = next) {
        next = rule->next;
        password_file_free(rule->file);
        explicit_bzero(rule, sizeof *rule);
        free(rule);
    }
    brief_cache_destroy(auth->known);
    if (auth->attempts) {
        rate_limit_destroy(auth->attempts);
    }
    pthread_mutex_destroy(&auth->lock);
    free(auth);
}

int basic_auth_create(const struct http_settings *settings, struct basic_auth **auth, char *error,
                      size_t size)
{
    *auth = NULL;
    if (!settings->basic_auth) {
        return 0;
    }
    struct basic_auth *made = xcalloc(1, sizeof *made);
    snprintf(error, size, "http.basic_auth: out of memory, or of random bytes");
    struct rule **last = &made->rules;
    bool bad = false;
    for (const struct setting_pair *pair = settings->basic_auth; pair && !bad; pair = pair->next) {
        struct rule *rule = *last = xcalloc(1, sizeof *rule);
        last = &rule->next;
        rule->pattern = str_of(pair->key);
        rule->file = is_off(pair->value) ? NULL : read_file(pair->value, error, size);
        bad = (!rule->file && !is_off(pair->value)) || password_key(rule->key) != 0;
    }
    pthread_mutex_init(&made->lock, NULL);
    made->known = brief_cache_create(KNOWN, KNOWN_US);
    made->attempts = rate_limit_create_bucket(ATTEMPTS, ATTEMPT_WINDOW, ADDRESSES);
    if (bad || !made->known || !made->attempts) {
        basic_auth_destroy(made);
        return -1;
    }
    *auth = made;
    return 0;
}

/* -- what is said -- */

/* False: there is nothing, or nothing that could fit. */
static bool read_credentials(const struct http_head *head, struct credentials *out)
{
    static const struct str scheme = {"Basic ", 6};
    const struct http_field *field = http_head_find(head, STR("Authorization"));
    if (!field || field->value.n <= scheme.n || !str_ieq((struct str){field->value.p, scheme.n}, scheme)) {
        return false;
    }
    struct str coded = str_trim((struct str){field->value.p + scheme.n, field->value.n - scheme.n});
    ssize_t n = base64_decode(coded, (unsigned char *)out->text, sizeof out->text - 1);
    if (n < 0 || memchr(out->text, '\0', (size_t)n)) {
        return false;
    }
    out->text[n] = '\0';
    char *colon = strchr(out->text, ':');
    if (!colon) {
        return false;
    }
    out->user = (struct str){out->text, (size_t)(colon - out->text)};
    out->password = colon + 1;
    out->password_n = (size_t)n - out->user.n - 1;
    return out->user.n > 0 && out->user.n <= PASSWORD_MAX && out->password_n <= PASSWORD_MAX;
}

static enum basic_auth_verdict refuse(struct exchange *x)
{
    const char *realm = x->http.site->settings->basic_auth_realm;
    answer_challenge(x, realm && *realm ? realm : x->http.site->conf->name);
    return BASIC_AUTH_ANSWERED;
}

/* -- a question to the helpers -- */

static void forget(struct question *q)
{
    struct exchange *x = q->x;
    explicit_bzero(q, sizeof *q);
    free(q);
    exchange_drop(x);
}

/* Loop thread. */
static void arrive(struct loop *loop, struct loop_message *message)
{
    struct question *q = (struct question *)(void *)((char *)message - offsetof(struct question, message));
    struct exchange *x = q->x;
    (void)loop;
    x->http.password = q->fits ? PASSWORD_FITS : PASSWORD_WRONG;
    if (q->fits) {
        x->http.user = arena_dup(x->arena, q->said.user.p, q->said.user.n);
    }
    if (x->delivery.conn && x->delivery.conn->state != CONN_CLOSED) {
        x->delivery.protocol->decided(x->delivery.conn, x);
    }
    forget(q);
}

/* Lock held: nobody joins it any more. */
static void take_out(struct question *q)
{
    struct question **link = &q->auth->asked;
    while (*link && *link != q) {
        link = &(*link)->next;
    }
    if (*link) {
        *link = q->next;
    }
}

/* Does anybody wait for it? If not, nobody will. */
static bool is_wanted(struct question *q)
{
    pthread_mutex_lock(&q->auth->lock);
    bool wanted = q->others || !atomic_load(&q->x->handover.gone);
    if (!wanted) {
        take_out(q);
    }
    pthread_mutex_unlock(&q->auth->lock);
    return wanted;
}

/* Helper thread. What has fitted is known before nobody can join any more. */
static void hold_against(struct helper_task *task)
{
    struct question *q = (struct question *)task;
    q->fits = is_wanted(q) && password_file_admits(q->file, q->said.user, q->said.password);
    if (q->fits) {
        const struct str key = {(const char *)q->digest, sizeof q->digest};
        brief_cache_put(q->auth->known, 'p', key, clock_coarse_us(), "", 0, false);
    }
    pthread_mutex_lock(&q->auth->lock);
    take_out(q);
    pthread_mutex_unlock(&q->auth->lock);
    for (struct question *other = q->others, *next; other; other = next) {
        next = other->next;
        other->fits = q->fits;
        loop_post(other->x->loop, &other->message);
    }
    loop_post(q->x->loop, &q->message);
}

/* The process ends. */
static void leave_open(struct helper_task *task)
{
    struct question *q = (struct question *)task;
    for (struct question *other = q->others, *next; other; other = next) {
        next = other->next;
        forget(other);
    }
    take_out(q);
    forget(q);
}

static struct question *question_of(struct exchange *x, const struct password_file *file,
                                    const struct credentials *said,
                                    const unsigned char digest[PASSWORD_DIGEST])
{
    struct question *q = calloc(1, sizeof *q);
    if (q) {
        q->task = (struct helper_task){.run = hold_against, .forget = leave_open};
        q->message.run = arrive;
        q->auth = x->http.site->auth;
        q->x = x;
        q->file = file;
        q->said = *said;
        q->said.user.p = q->said.text;
        q->said.password = q->said.text + said->user.n + 1;
        memcpy(q->digest, digest, PASSWORD_DIGEST);
        atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    }
    return q;
}

/* Somebody has asked the same, and has no answer yet. */
static bool join(struct question *q)
{
    pthread_mutex_lock(&q->auth->lock);
    struct question *first = q->auth->asked;
    while (first && memcmp(first->digest, q->digest, PASSWORD_DIGEST) != 0) {
        first = first->next;
    }
    if (first) {
        q->next = first->others;
        first->others = q;
    }
    pthread_mutex_unlock(&q->auth->lock);
    return first != NULL;
}

/* The lock is held until it can be found: a helper that is through with it waits. */
static bool hand_to_helpers(struct question *q)
{
    pthread_mutex_lock(&q->auth->lock);
    bool taken = helper_pool_add(q->x->loop->front->helpers, HELPERS_PASSWORDS, &q->task);
    if (taken) {
        q->next = q->auth->asked;
        q->auth->asked = q;
    }
    pthread_mutex_unlock(&q->auth->lock);
    return taken;
}

/* For a question of its own. False: x has its answer. */
static bool ask_anew(struct exchange *x, struct question *q)
{
    struct rate_verdict v = rate_limit_take(q->auth->attempts, &x->http.client.address, clock_us());
    if (!v.allowed) {
        answer_limited(x, &v);
        return false;
    }
    if (!hand_to_helpers(q)) {
        log_limited(LEVEL_WARNING, "http: too many passwords wait to be looked at, a request was answered "
                                   "with 503");
        answer_error(x, 503);
        return false;
    }
    return true;
}

static enum basic_auth_verdict ask_helpers(struct exchange *x, const struct http_head *head,
                                           const struct password_file *file, const struct credentials *said,
                                           const unsigned char digest[PASSWORD_DIGEST])
{
    exchange_keep_head(x, head);
    struct question *q = x->http.head ? question_of(x, file, said, digest) : NULL;
    if (!q) {
        answer_error(x, 503);
        return BASIC_AUTH_ANSWERED;
    }
    x->http.password = PASSWORD_ASKED;
    if (join(q) || ask_anew(x, q)) {
        return BASIC_AUTH_ASKED;
    }
    x->http.password = PASSWORD_UNASKED;
    forget(q);
    return BASIC_AUTH_ANSWERED;
}

/* -- at a request -- */

static const struct rule *rule_for(const struct basic_auth *auth, struct str raw)
{
    char text[PATH_TEXT_MAX + 1];
    int n = path_text(raw, text);
    const struct rule *rule = n > 0 ? auth->rules : NULL; /* nothing is served for another path */
    while (rule && !pattern_match(rule->pattern, (struct str){text, (size_t)n})) {
        rule = rule->next;
    }
    return rule;
}

static enum basic_auth_verdict let_in(struct exchange *x)
{
    if (x->http.user) {
        return BASIC_AUTH_FREE;
    }
    answer_error(x, 503); /* out of memory */
    return BASIC_AUTH_ANSWERED;
}

static enum basic_auth_verdict ask(struct exchange *x, const struct http_head *head, const struct rule *rule,
                                   struct credentials *said)
{
    struct basic_auth *auth = x->http.site->auth;
    unsigned char digest[PASSWORD_DIGEST];
    size_t n;
    if (!read_credentials(head, said)) {
        return refuse(x);
    }
    if (!password_digest(rule->key, said->user, (struct str){said->password, said->password_n}, digest)) {
        answer_error(x, 503);
        return BASIC_AUTH_ANSWERED;
    }
    struct str key = {(const char *)digest, sizeof digest};
    if (!brief_cache_get(auth->known, 'p', key, x->loop->now_us, x->arena, &n)) {
        return ask_helpers(x, head, rule->file, said, digest);
    }
    x->http.user = arena_dup(x->arena, said->user.p, said->user.n);
    return let_in(x);
}

enum basic_auth_verdict basic_auth_ask(struct exchange *x, const struct http_head *head)
{
    const struct basic_auth *auth = x->http.site->auth;
    const struct rule *rule = auth ? rule_for(auth, head->path) : NULL;
    if (!rule || !rule->file) {
        return BASIC_AUTH_FREE;
    }
    if (x->http.password == PASSWORD_FITS) {
        return let_in(x);
    }
    if (x->http.password == PASSWORD_WRONG) {
        log_limited(LEVEL_NOTICE, "http: a wrong name or password came from %s", x->http.client.ip);
        return refuse(x);
    }
    struct credentials said;
    enum basic_auth_verdict verdict = ask(x, head, rule, &said);
    explicit_bzero(&said, sizeof said);
    return verdict;
}
