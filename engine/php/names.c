/* See names.h. */
#include "engine/php/names.h"

#define SLOTS      256 /* a power of two, sparse */
#define VALUE_MOST 128

static struct {
    const char *text;
    bool same; /* a server's own, the same in nearly all requests, and nobody's secret */
    zend_string *name;
    _Atomic(zend_string *) value; /* the first one that came; then constant */
} known[NAMES] = {
    [NAME_AUTH_TYPE] = {.text = "AUTH_TYPE"},
    [NAME_CONTENT_LENGTH] = {.text = "CONTENT_LENGTH"},
    [NAME_CONTENT_TYPE] = {.text = "CONTENT_TYPE"},
    [NAME_CONTEXT_DOCUMENT_ROOT] = {.text = "CONTEXT_DOCUMENT_ROOT", .same = true},
    [NAME_CONTEXT_PREFIX] = {.text = "CONTEXT_PREFIX", .same = true},
    [NAME_DOCUMENT_ROOT] = {.text = "DOCUMENT_ROOT", .same = true},
    [NAME_DOCUMENT_URI] = {.text = "DOCUMENT_URI"},
    [NAME_FCGI_ROLE] = {.text = "FCGI_ROLE", .same = true},
    [NAME_GATEWAY_INTERFACE] = {.text = "GATEWAY_INTERFACE", .same = true},
    [NAME_HTTPS] = {.text = "HTTPS", .same = true},
    [NAME_HTTP_ACCEPT] = {.text = "HTTP_ACCEPT"},
    [NAME_HTTP_ACCEPT_CHARSET] = {.text = "HTTP_ACCEPT_CHARSET"},
    [NAME_HTTP_ACCEPT_ENCODING] = {.text = "HTTP_ACCEPT_ENCODING", .same = true},
    [NAME_HTTP_ACCEPT_LANGUAGE] = {.text = "HTTP_ACCEPT_LANGUAGE"},
    [NAME_HTTP_AUTHORIZATION] = {.text = "HTTP_AUTHORIZATION"},
    [NAME_HTTP_CACHE_CONTROL] = {.text = "HTTP_CACHE_CONTROL"},
    [NAME_HTTP_CONNECTION] = {.text = "HTTP_CONNECTION", .same = true},
    [NAME_HTTP_CONTENT_LENGTH] = {.text = "HTTP_CONTENT_LENGTH"},
    [NAME_HTTP_CONTENT_TYPE] = {.text = "HTTP_CONTENT_TYPE"},
    [NAME_HTTP_COOKIE] = {.text = "HTTP_COOKIE"},
    [NAME_HTTP_DNT] = {.text = "HTTP_DNT"},
    [NAME_HTTP_FORWARDED] = {.text = "HTTP_FORWARDED"},
    [NAME_HTTP_HOST] = {.text = "HTTP_HOST"},
    [NAME_HTTP_IF_MODIFIED_SINCE] = {.text = "HTTP_IF_MODIFIED_SINCE"},
    [NAME_HTTP_IF_NONE_MATCH] = {.text = "HTTP_IF_NONE_MATCH"},
    [NAME_HTTP_ORIGIN] = {.text = "HTTP_ORIGIN"},
    [NAME_HTTP_PRAGMA] = {.text = "HTTP_PRAGMA"},
    [NAME_HTTP_PRIORITY] = {.text = "HTTP_PRIORITY"},
    [NAME_HTTP_RANGE] = {.text = "HTTP_RANGE"},
    [NAME_HTTP_REFERER] = {.text = "HTTP_REFERER"},
    [NAME_HTTP_SEC_CH_UA] = {.text = "HTTP_SEC_CH_UA"},
    [NAME_HTTP_SEC_CH_UA_MOBILE] = {.text = "HTTP_SEC_CH_UA_MOBILE"},
    [NAME_HTTP_SEC_CH_UA_PLATFORM] = {.text = "HTTP_SEC_CH_UA_PLATFORM"},
    [NAME_HTTP_SEC_FETCH_DEST] = {.text = "HTTP_SEC_FETCH_DEST"},
    [NAME_HTTP_SEC_FETCH_MODE] = {.text = "HTTP_SEC_FETCH_MODE"},
    [NAME_HTTP_SEC_FETCH_SITE] = {.text = "HTTP_SEC_FETCH_SITE"},
    [NAME_HTTP_SEC_FETCH_USER] = {.text = "HTTP_SEC_FETCH_USER"},
    [NAME_HTTP_TE] = {.text = "HTTP_TE"},
    [NAME_HTTP_TRACEPARENT] = {.text = "HTTP_TRACEPARENT"},
    [NAME_HTTP_TRACESTATE] = {.text = "HTTP_TRACESTATE"},
    [NAME_HTTP_UPGRADE_INSECURE_REQUESTS] = {.text = "HTTP_UPGRADE_INSECURE_REQUESTS"},
    [NAME_HTTP_USER_AGENT] = {.text = "HTTP_USER_AGENT"},
    [NAME_HTTP_VIA] = {.text = "HTTP_VIA"},
    [NAME_HTTP_X_FORWARDED_FOR] = {.text = "HTTP_X_FORWARDED_FOR"},
    [NAME_HTTP_X_FORWARDED_HOST] = {.text = "HTTP_X_FORWARDED_HOST"},
    [NAME_HTTP_X_FORWARDED_PORT] = {.text = "HTTP_X_FORWARDED_PORT"},
    [NAME_HTTP_X_FORWARDED_PROTO] = {.text = "HTTP_X_FORWARDED_PROTO"},
    [NAME_HTTP_X_REAL_IP] = {.text = "HTTP_X_REAL_IP"},
    [NAME_HTTP_X_REQUESTED_WITH] = {.text = "HTTP_X_REQUESTED_WITH"},
    [NAME_HTTP_X_REQUEST_ID] = {.text = "HTTP_X_REQUEST_ID"},
    [NAME_ORIG_PATH_INFO] = {.text = "ORIG_PATH_INFO"},
    [NAME_ORIG_PATH_TRANSLATED] = {.text = "ORIG_PATH_TRANSLATED"},
    [NAME_ORIG_SCRIPT_FILENAME] = {.text = "ORIG_SCRIPT_FILENAME"},
    [NAME_ORIG_SCRIPT_NAME] = {.text = "ORIG_SCRIPT_NAME"},
    [NAME_PARENT_SPAN_ID] = {.text = "PARENT_SPAN_ID"},
    [NAME_PATH_INFO] = {.text = "PATH_INFO"},
    [NAME_PATH_TRANSLATED] = {.text = "PATH_TRANSLATED"},
    [NAME_PHP_SELF] = {.text = "PHP_SELF"},
    [NAME_QUERY_STRING] = {.text = "QUERY_STRING"},
    [NAME_REDIRECT_STATUS] = {.text = "REDIRECT_STATUS", .same = true},
    [NAME_REDIRECT_URL] = {.text = "REDIRECT_URL"},
    [NAME_REMOTE_ADDR] = {.text = "REMOTE_ADDR"},
    [NAME_REMOTE_HOST] = {.text = "REMOTE_HOST"},
    [NAME_REMOTE_IDENT] = {.text = "REMOTE_IDENT"},
    [NAME_REMOTE_PORT] = {.text = "REMOTE_PORT"},
    [NAME_REMOTE_USER] = {.text = "REMOTE_USER"},
    [NAME_REQUEST_METHOD] = {.text = "REQUEST_METHOD", .same = true},
    [NAME_REQUEST_SCHEME] = {.text = "REQUEST_SCHEME", .same = true},
    [NAME_REQUEST_URI] = {.text = "REQUEST_URI"},
    [NAME_SCRIPT_FILENAME] = {.text = "SCRIPT_FILENAME"},
    [NAME_SCRIPT_NAME] = {.text = "SCRIPT_NAME"},
    [NAME_SERVER_ADDR] = {.text = "SERVER_ADDR", .same = true},
    [NAME_SERVER_ADMIN] = {.text = "SERVER_ADMIN", .same = true},
    [NAME_SERVER_NAME] = {.text = "SERVER_NAME", .same = true},
    [NAME_SERVER_PORT] = {.text = "SERVER_PORT", .same = true},
    [NAME_SERVER_PROTOCOL] = {.text = "SERVER_PROTOCOL", .same = true},
    [NAME_SERVER_SIGNATURE] = {.text = "SERVER_SIGNATURE"},
    [NAME_SERVER_SOFTWARE] = {.text = "SERVER_SOFTWARE", .same = true},
    [NAME_SPAN_ID] = {.text = "SPAN_ID"},
    [NAME_SSL_CIPHER] = {.text = "SSL_CIPHER"},
    [NAME_SSL_PROTOCOL] = {.text = "SSL_PROTOCOL"},
    [NAME_TOKIO_REQUEST_ID] = {.text = "TOKIO_REQUEST_ID"},
    [NAME_TOKIO_SERVER_BUILD_VERSION] = {.text = "TOKIO_SERVER_BUILD_VERSION", .same = true},
    [NAME_TOKIO_WORKER_ID] = {.text = "TOKIO_WORKER_ID"},
    [NAME_TRACE_ID] = {.text = "TRACE_ID"},
    [NAME_TRACE_STATE] = {.text = "TRACE_STATE"},
};

static uint8_t slots[SLOTS]; /* open addressing by hash: index + 1, 0 = free */

void names_intern(void)
{
    for (size_t i = 0; i < NAMES; i++) {
        zend_string *name = zend_string_init_interned(known[i].text, strlen(known[i].text), true);
        size_t slot = zend_string_hash_val(name) & (SLOTS - 1);

        while (slots[slot]) {
            slot = (slot + 1) & (SLOTS - 1);
        }
        slots[slot] = (uint8_t)(i + 1);
        known[i].name = name;
    }
}

zend_string *names_string(int i)
{
    return known[i].name;
}

static bool is_name(size_t i, const char *name, size_t n)
{
    return ZSTR_LEN(known[i].name) == n && memcmp(ZSTR_VAL(known[i].name), name, n) == 0;
}

int names_find(const char *name, size_t n, uint8_t *guess)
{
    if (*guess && is_name(*guess - 1U, name, n)) {
        return *guess - 1;
    }
    zend_ulong hash = zend_inline_hash_func(name, n);

    for (size_t slot = hash & (SLOTS - 1); slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
        size_t i = slots[slot] - 1U;

        if (ZSTR_H(known[i].name) == hash && is_name(i, name, n)) {
            *guess = slots[slot];
            return (int)i;
        }
    }
    return -1;
}

/* Permanent, and used without counting, as PHP's own interned strings. */
static zend_string *keep(size_t i, const char *value, size_t n)
{
    zend_string *fresh = zend_string_init(value, n, true), *before = NULL;

    zend_string_hash_val(fresh);
    GC_SET_REFCOUNT(fresh, 1);
    GC_TYPE_INFO(fresh) =
        GC_STRING | ((IS_STR_INTERNED | IS_STR_PERSISTENT | IS_STR_PERMANENT) << GC_FLAGS_SHIFT);
    if (!atomic_compare_exchange_strong(&known[i].value, &before, fresh)) {
        free(fresh); /* another thread was faster */
        return before;
    }
    return fresh;
}

void names_value(int i, const char *value, size_t n, zval *out)
{
    if (known[i].same && n > 1 && n <= VALUE_MOST) {
        zend_string *kept = atomic_load_explicit(&known[i].value, memory_order_acquire);

        if (!kept) {
            kept = keep((size_t)i, value, n);
        }
        if (ZSTR_LEN(kept) == n && memcmp(ZSTR_VAL(kept), value, n) == 0) {
            ZVAL_INTERNED_STR(out, kept);
            return;
        }
    }
    ZVAL_STRINGL_FAST(out, value, n);
}
