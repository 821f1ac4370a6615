/* Names of variables that most requests have, as permanent strings with their hash, and values of theirs that
 * are nearly always the same.
 *
 * The names are made once, before threads exist, and never change. Of some, the first value that comes in
 * this process is kept for ever: a string that nobody counts and no thread changes, so that a request whose
 * value is the same needs no copy. They are as few as the names, and short. */
#ifndef ENGINE_PHP_NAMES_H
#define ENGINE_PHP_NAMES_H

#include <stdatomic.h>

#include "php.h"

enum name {
    NAME_AUTH_TYPE,
    NAME_CONTENT_LENGTH,
    NAME_CONTENT_TYPE,
    NAME_CONTEXT_DOCUMENT_ROOT,
    NAME_CONTEXT_PREFIX,
    NAME_DOCUMENT_ROOT,
    NAME_DOCUMENT_URI,
    NAME_FCGI_ROLE,
    NAME_GATEWAY_INTERFACE,
    NAME_HTTPS,
    NAME_HTTP_ACCEPT,
    NAME_HTTP_ACCEPT_CHARSET,
    NAME_HTTP_ACCEPT_ENCODING,
    NAME_HTTP_ACCEPT_LANGUAGE,
    NAME_HTTP_AUTHORIZATION,
    NAME_HTTP_CACHE_CONTROL,
    NAME_HTTP_CONNECTION,
    NAME_HTTP_CONTENT_LENGTH,
    NAME_HTTP_CONTENT_TYPE,
    NAME_HTTP_COOKIE,
    NAME_HTTP_DNT,
    NAME_HTTP_FORWARDED,
    NAME_HTTP_HOST,
    NAME_HTTP_IF_MODIFIED_SINCE,
    NAME_HTTP_IF_NONE_MATCH,
    NAME_HTTP_ORIGIN,
    NAME_HTTP_PRAGMA,
    NAME_HTTP_PRIORITY,
    NAME_HTTP_RANGE,
    NAME_HTTP_REFERER,
    NAME_HTTP_SEC_CH_UA,
    NAME_HTTP_SEC_CH_UA_MOBILE,
    NAME_HTTP_SEC_CH_UA_PLATFORM,
    NAME_HTTP_SEC_FETCH_DEST,
    NAME_HTTP_SEC_FETCH_MODE,
    NAME_HTTP_SEC_FETCH_SITE,
    NAME_HTTP_SEC_FETCH_USER,
    NAME_HTTP_TE,
    NAME_HTTP_TRACEPARENT,
    NAME_HTTP_TRACESTATE,
    NAME_HTTP_UPGRADE_INSECURE_REQUESTS,
    NAME_HTTP_USER_AGENT,
    NAME_HTTP_VIA,
    NAME_HTTP_X_FORWARDED_FOR,
    NAME_HTTP_X_FORWARDED_HOST,
    NAME_HTTP_X_FORWARDED_PORT,
    NAME_HTTP_X_FORWARDED_PROTO,
    NAME_HTTP_X_REAL_IP,
    NAME_HTTP_X_REQUESTED_WITH,
    NAME_HTTP_X_REQUEST_ID,
    NAME_ORIG_PATH_INFO,
    NAME_ORIG_PATH_TRANSLATED,
    NAME_ORIG_SCRIPT_FILENAME,
    NAME_ORIG_SCRIPT_NAME,
    NAME_PARENT_SPAN_ID,
    NAME_PATH_INFO,
    NAME_PATH_TRANSLATED,
    NAME_PHP_SELF,
    NAME_QUERY_STRING,
    NAME_REDIRECT_STATUS,
    NAME_REDIRECT_URL,
    NAME_REMOTE_ADDR,
    NAME_REMOTE_HOST,
    NAME_REMOTE_IDENT,
    NAME_REMOTE_PORT,
    NAME_REMOTE_USER,
    NAME_REQUEST_METHOD,
    NAME_REQUEST_SCHEME,
    NAME_REQUEST_URI,
    NAME_SCRIPT_FILENAME,
    NAME_SCRIPT_NAME,
    NAME_SERVER_ADDR,
    NAME_SERVER_ADMIN,
    NAME_SERVER_NAME,
    NAME_SERVER_PORT,
    NAME_SERVER_PROTOCOL,
    NAME_SERVER_SIGNATURE,
    NAME_SERVER_SOFTWARE,
    NAME_SPAN_ID,
    NAME_SSL_CIPHER,
    NAME_SSL_PROTOCOL,
    NAME_TOKIO_REQUEST_ID,
    NAME_TOKIO_SERVER_BUILD_VERSION,
    NAME_TOKIO_WORKER_ID,
    NAME_TRACE_ID,
    NAME_TRACE_STATE,
    NAMES
};

/* Which of them a table has. */
struct names_set {
    uint64_t bits[2];
};
_Static_assert(NAMES <= 128, "more names than a set holds");

void names_intern(void); /* main thread, while the module starts */

/* The number of a name, -1 if it is none of them. *guess belongs to the caller: it makes the search short
 * where the same name is asked for again, as the variables of one web server come in the same order. 0 =
 * nothing known yet. */
int names_find(const char *name, size_t n, uint8_t *guess);
zend_string *names_string(int i);
/* A value for a variable of that name: a new string of the request, or the kept one. */
void names_value(int i, const char *value, size_t n, zval *out);

#endif
