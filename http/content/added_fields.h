/* The fields that a site adds to every response (http.add_header, http.security_headers), but never over one
 * that is there already. Prepared at the start, read-only afterwards: any thread. */
#ifndef HTTP_CONTENT_ADDED_FIELDS_H
#define HTTP_CONTENT_ADDED_FIELDS_H

#include "http/wire/head.h"

#define ADDED_FIELDS_MAX 16 /* a set of them is bits of an unsigned */

struct http_settings;

struct added_fields {
    struct http_field fields[ADDED_FIELDS_MAX]; /* text of the settings */
    size_t count;
    unsigned tls_only; /* bits of those that may not be said in plain HTTP: Strict-Transport-Security */
};

void added_fields_init(struct added_fields *s, const struct http_settings *settings);
/* Why http.add_header cannot be what it says; NULL: it can. */
const char *added_fields_fault(const struct http_settings *settings);

/* Which of the fields a response still lacks, as bits. Start with added_fields_all(), take a bit off
 * for every field that the response has, and send those that are left. */
unsigned added_fields_all(const struct added_fields *s, bool https);
unsigned added_fields_seen(const struct added_fields *s, struct str name); /* the bit of this name, or 0 */

/* The same for an answer of ours: adds those that it lacks. */
void added_fields_add(const struct added_fields *s, bool https, struct http_answer *out);

#endif
