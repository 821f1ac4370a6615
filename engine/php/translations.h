/* gettext() of scripts: each request has its own current domain, and its own folders and encodings. */
#ifndef ENGINE_PHP_TRANSLATIONS_H
#define ENGINE_PHP_TRANSLATIONS_H

#include <stdbool.h>

/* Whether the caller of libintl is PHP's extension gettext in a request; else it is some library, for itself.
 */
bool translations_are_scripts(void);

/* As textdomain(), bindtextdomain() and bind_textdomain_codeset() of libintl, for the request. Worker's
 * thread; what they return lives until the next change, or the request's end. NULL with errno: out of memory.
 */
char *translations_domain(const char *domain);
char *translations_folder(const char *domain, const char *folder);
char *translations_encoding(const char *domain, const char *encoding);

/* The name by which libintl knows the request's domain; NULL asks for the current one. */
const char *translations_known_as(const char *domain);

void translations_request_end(void);
/* What is set now, and the same again; forgotten by translations_request_end. PHP's memory. */
void translations_keep(void);
void translations_put_back(void);

#endif
