/* $_SERVER, $_ENV and getenv() from the request's parameters and the pool's environment.
 *
 * The order is php-fpm's: environment, parameters (the last of a name wins), PHP_SELF, ours; PHP adds
 * PHP_AUTH_* and REQUEST_TIME itself. HTTP_PROXY is left out everywhere: a client could name a proxy for
 * scripts that trust that variable. Names that every request has are permanent strings with their hash, made
 * once before threads exist; the table that finds them is read-only afterwards. */
#include "engine/php/vars.h"

#include "php_variables.h"

#include "engine/php/env.h"
#include "engine/php/late_filter.h"
#include "engine/php/worker_script.h"

#define NAMES_SLOTS 256 /* a power of two, sparse */

static const char *const well_known[] = {
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "CONTEXT_DOCUMENT_ROOT",
    "CONTEXT_PREFIX",
    "DOCUMENT_ROOT",
    "DOCUMENT_URI",
    "FCGI_ROLE",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_CHARSET",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_AUTHORIZATION",
    "HTTP_CACHE_CONTROL",
    "HTTP_CONNECTION",
    "HTTP_CONTENT_LENGTH",
    "HTTP_CONTENT_TYPE",
    "HTTP_COOKIE",
    "HTTP_DNT",
    "HTTP_FORWARDED",
    "HTTP_HOST",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_ORIGIN",
    "HTTP_PRAGMA",
    "HTTP_PRIORITY",
    "HTTP_RANGE",
    "HTTP_REFERER",
    "HTTP_SEC_CH_UA",
    "HTTP_SEC_CH_UA_MOBILE",
    "HTTP_SEC_CH_UA_PLATFORM",
    "HTTP_SEC_FETCH_DEST",
    "HTTP_SEC_FETCH_MODE",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_SEC_FETCH_USER",
    "HTTP_TE",
    "HTTP_TRACEPARENT",
    "HTTP_TRACESTATE",
    "HTTP_UPGRADE_INSECURE_REQUESTS",
    "HTTP_USER_AGENT",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_X_REQUESTED_WITH",
    "HTTP_X_REQUEST_ID",
    "ORIG_PATH_INFO",
    "ORIG_PATH_TRANSLATED",
    "ORIG_SCRIPT_FILENAME",
    "ORIG_SCRIPT_NAME",
    "PARENT_SPAN_ID",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "PHP_SELF",
    "QUERY_STRING",
    "REDIRECT_STATUS",
    "REDIRECT_URL",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_FILENAME",
    "SCRIPT_NAME",
    "SERVER_ADDR",
    "SERVER_ADMIN",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SIGNATURE",
    "SERVER_SOFTWARE",
    "SPAN_ID",
    "SSL_CIPHER",
    "SSL_PROTOCOL",
    "TOKIO_REQUEST_ID",
    "TOKIO_SERVER_BUILD_VERSION",
    "TOKIO_WORKER_ID",
    "TRACE_ID",
    "TRACE_STATE",
};

static zend_string *names[NAMES_SLOTS]; /* open addressing by hash; NULL = free */

void vars_intern_names(void)
{
    for (size_t i = 0; i < sizeof well_known / sizeof *well_known; i++) {
        zend_string *name = zend_string_init_interned(well_known[i], strlen(well_known[i]), true);
        size_t slot = zend_string_hash_val(name) & (NAMES_SLOTS - 1);

        while (names[slot]) {
            slot = (slot + 1) & (NAMES_SLOTS - 1);
        }
        names[slot] = name;
    }
}

/* A string for this name: a permanent one, or a new one of the request. The caller releases it. */
static zend_string *name_string(const char *name, size_t n)
{
    zend_ulong hash = zend_inline_hash_func(name, n);

    for (size_t slot = hash & (NAMES_SLOTS - 1); names[slot]; slot = (slot + 1) & (NAMES_SLOTS - 1)) {
        zend_string *known = names[slot];

        if (ZSTR_H(known) == hash && ZSTR_LEN(known) == n && memcmp(ZSTR_VAL(known), name, n) == 0) {
            return known;
        }
    }
    zend_string *fresh = zend_string_init(name, n, 0);

    ZSTR_H(fresh) = hash;
    return fresh;
}

/* PHP changes blanks and dots in names, makes arrays of brackets and numbers of digits: those take its own
 * way. */
static bool is_plain_name(const char *name, size_t n)
{
    if (n == 0 || (name[0] >= '0' && name[0] <= '9')) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = name[i];

        if (!((c >= 'A' && c <= 'Z') || c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return true;
}

static void set_plain(HashTable *out, const char *name, size_t n, zval *value)
{
    zend_string *key = name_string(name, n);

    zend_hash_update(out, key, value);
    zend_string_release(key);
}

static void set_variable(zval *array, const char *name, size_t n, const char *value, size_t value_n)
{
    zval copy;

    if (!is_plain_name(name, n)) {
        php_register_variable_safe(name, value, value_n, array);
        return;
    }
    ZVAL_STRINGL_FAST(&copy, value, value_n);
    set_plain(Z_ARRVAL_P(array), name, n, &copy);
}

/* Through the input filter (ext/filter registers the variable itself, and keeps a raw copy). */
static void set_filtered(zval *array, int kind, const char *name, size_t n, const char *value, size_t value_n)
{
    char *copy = estrndup(value, value_n);
    size_t copy_n = value_n;

    if (sapi_module.input_filter(kind, name, &copy, value_n, &copy_n)) {
        set_variable(array, name, n, copy, copy_n);
    }
    efree(copy);
}

static bool is_http_proxy(const struct param *p)
{
    return p->name_len == sizeof("HTTP_PROXY") - 1 && memcmp(p->name, "HTTP_PROXY", p->name_len) == 0;
}

/* kind: PARSE_SERVER or PARSE_ENV filters, -1 does not. */
static void set_parameters(zval *array, const struct request *r, int kind)
{
    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];

        if (is_http_proxy(p)) {
            continue;
        }
        if (kind < 0 || sapi_module.input_filter == php_default_input_filter) {
            set_variable(array, p->name, p->name_len, p->value, p->value_len);
        } else {
            set_filtered(array, kind, p->name, p->name_len, p->value, p->value_len);
        }
    }
}

static void set_php_self(zval *array, const struct request *r, int kind)
{
    const struct param *info = cgi_rules.fix_pathinfo ? request_param_find(r, STR("PATH_INFO")) : NULL;
    size_t uri_n = r->uri ? strlen(r->uri) : 0, info_n = info ? info->value_len : 0;
    zend_string *self = zend_string_alloc(uri_n + info_n, 0);

    memcpy(ZSTR_VAL(self), r->uri ? r->uri : "", uri_n);
    memcpy(ZSTR_VAL(self) + uri_n, info ? info->value : "", info_n);
    ZSTR_VAL(self)[uri_n + info_n] = '\0';
    if (kind < 0) {
        set_variable(array, "PHP_SELF", sizeof("PHP_SELF") - 1, ZSTR_VAL(self), uri_n + info_n);
    } else {
        set_filtered(array, kind, "PHP_SELF", sizeof("PHP_SELF") - 1, ZSTR_VAL(self), uri_n + info_n);
    }
    zend_string_release(self);
}

/* What a script may pass on: the tracestate as it came, if it is valid and its trace is continued. */
static void set_trace_state(zval *array, const struct request *r)
{
    static const char name[] = "TRACE_STATE";
    const struct param *p = r->trace.state.n ? request_param_find(r, STR("HTTP_TRACESTATE")) : NULL;
    zval value;

    if (p) {
        ZVAL_STRINGL(&value, p->value, p->value_len);
        set_plain(Z_ARRVAL_P(array), name, sizeof name - 1, &value);
    }
}

static void set_ours(zval *array, struct request *r)
{
    static const char version_name[] = "TOKIO_SERVER_BUILD_VERSION", worker_name[] = "TOKIO_WORKER_ID";
    request_identify_once(r);
    const struct request_trace *trace = &r->trace;
    const struct {
        const char *name, *value;
    } texts[] = {
        {"TOKIO_REQUEST_ID", trace->id},      {"TRACE_ID", trace->trace_id},    {"SPAN_ID", trace->span_id},
        {"PARENT_SPAN_ID", trace->parent_id}, {version_name, TOKIOPHP_VERSION},
    };
    zval value;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].value[0]) {
            ZVAL_STRING(&value, texts[i].value);
            set_plain(Z_ARRVAL_P(array), texts[i].name, strlen(texts[i].name), &value);
        }
    }
    ZVAL_STR(&value, zend_long_to_str(php_thread->worker->id));
    set_plain(Z_ARRVAL_P(array), worker_name, sizeof worker_name - 1, &value);
}

/* Of a worker script while it boots, where a request has those of its client. */
static void set_script(zval *array, const struct worker_script *script)
{
    const char *name = script->settings->worker_script, *slash = strrchr(name, '/');

    add_assoc_string(array, "SCRIPT_FILENAME", name);
    add_assoc_string(array, "SCRIPT_NAME", slash ? slash : name);
    add_assoc_string(array, "PHP_SELF", slash ? slash : name);
    add_assoc_string(array, "DOCUMENT_ROOT", script->root);
}

void vars_register_server(zval *array)
{
    struct php_thread *t = php_thread;

    if (!t || !t->request) {
        env_import(Z_ARRVAL_P(array));
        if (t && t->script) {
            set_script(array, t->script);
        }
        return;
    }
    zend_hash_extend(Z_ARRVAL_P(array), (uint32_t)t->request->param_count + 16, 0);
    env_import(Z_ARRVAL_P(array));
    t->server_unfiltered = late_filter_applies();
    int kind = t->server_unfiltered ? -1 : PARSE_SERVER;

    set_parameters(array, t->request, kind);
    set_php_self(array, t->request, kind);
    set_ours(array, t->request);
    set_trace_state(array, t->request);
}

/* What is set already is set to the same again. */
static void filter_server(struct php_thread *t)
{
    zval *array = &PG(http_globals)[TRACK_VARS_SERVER];

    if (Z_TYPE_P(array) == IS_ARRAY) {
        set_parameters(array, t->request, PARSE_SERVER);
        set_php_self(array, t->request, PARSE_SERVER);
    }
}

/* $_ENV (filtered) and getenv() without arguments (as it came). Where $_SERVER is made already, $_ENV is its
 * copy, as in php-fpm. */
static void import_env(zval *array)
{
    zval *server = &PG(http_globals)[TRACK_VARS_SERVER];

    if (Z_TYPE_P(server) == IS_ARRAY && Z_ARR_P(server) != Z_ARR_P(array) &&
        zend_hash_num_elements(Z_ARRVAL_P(server)) > 0) {
        zend_array_destroy(Z_ARR_P(array));
        ZVAL_ARR(array, zend_array_dup(Z_ARR_P(server)));
        return;
    }
    env_import(Z_ARRVAL_P(array));
    if (php_thread && php_thread->request) {
        set_parameters(array, php_thread->request, PARSE_ENV);
    }
}

static void load_env(zval *array)
{
    env_import(Z_ARRVAL_P(array));
    if (php_thread && php_thread->request) {
        set_parameters(array, php_thread->request, -1);
    }
}

void vars_install(void)
{
    php_import_environment_variables = import_env;
    php_load_environment_variables = load_env;
    late_filter_install(filter_server);
}
