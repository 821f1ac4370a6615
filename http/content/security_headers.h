/* The optional set of security headers (http.security_headers): on every response, but never over one that is
 * there already. Prepared at the start, read-only afterwards: any thread. */
#ifndef HTTP_CONTENT_SECURITY_HEADERS_H
#define HTTP_CONTENT_SECURITY_HEADERS_H

#include "http/wire/head.h"

#define SECURITY_HEADERS_MAX 6

struct http_settings;

struct security_headers {
    struct http_field fields[SECURITY_HEADERS_MAX]; /* text of the settings */
    size_t count;
    int hsts; /* index of Strict-Transport-Security, which is for TLS only; -1: none */
};

void security_headers_init(struct security_headers *s, const struct http_settings *settings);

/* Which of the fields a response still lacks, as bits. Start with security_headers_all(), take a bit off
 * for every field that the response has, and send those that are left. */
unsigned security_headers_all(const struct security_headers *s, bool https);
unsigned security_headers_seen(const struct security_headers *s,
                               struct str name); /* the bit of this name, or 0 */

/* The same for an answer of ours: adds those that it lacks. */
void security_headers_add(const struct security_headers *s, bool https, struct http_answer *out);

#endif
