/* What a site's settings answer before anything is looked up: http.redirect_https and http.deny, and, once
 * the client may see what is there (basic_auth.h), http.redirect. Patterns are held against the path as an
 * application sees it (wire/path.h), so that no way of writing it gets around one. */
#ifndef HTTP_SITE_RULES_H
#define HTTP_SITE_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "http/wire/head.h"

struct exchange;
struct http_settings;

/* Loop thread, once the site and the client are known. True: x has its answer. */
bool rules_refuse(struct exchange *x, const struct http_head *head);
bool rules_answer(struct exchange *x, const struct http_head *head);

/* At the start: 0, or -1 with a sentence that names the setting. */
int rules_check(const struct http_settings *settings, char *error, size_t size);

#endif
