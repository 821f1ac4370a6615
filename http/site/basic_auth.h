/* Parts of a site that ask for a name and a password (http.basic_auth). Patterns are held against the path as
 * an application sees it, as those of rules.h are; the first that fits counts.
 *
 * A password is held against its hash by a helper thread, because that takes long on purpose; what has fitted
 * is remembered for a while, as a digest. Who guesses waits in a short queue, behind a limit for each
 * address, for one thread of low priority: nobody else notices. */
#ifndef HTTP_SITE_BASIC_AUTH_H
#define HTTP_SITE_BASIC_AUTH_H

#include <stddef.h>

#include "http/wire/head.h"

struct basic_auth;
struct exchange;
struct http_settings;

/* Supervisor: can the files be used? 0, or -1 with a sentence that names the setting. Their texts are kept
 * (net/pem.h): engine processes may not read them. */
int basic_auth_check(const struct http_settings *settings, char *error, size_t size);
/* The files that are named. */
void basic_auth_files(const struct http_settings *settings, void (*each)(const char *path, void *ctx),
                      void *ctx);

/* Of a site; NULL where nothing is asked for. 0, or -1 with a sentence. */
int basic_auth_create(const struct http_settings *settings, struct basic_auth **auth, char *error,
                      size_t size);
void basic_auth_destroy(struct basic_auth *auth); /* NULL is fine */

enum basic_auth_verdict {
    BASIC_AUTH_FREE,     /* goes on; x->http.user is who it is, or NULL where nobody is asked */
    BASIC_AUTH_ANSWERED, /* x has its answer */
    BASIC_AUTH_ASKED,    /* a helper is asked: x->delivery.protocol->decided() is called on the loop */
};
/* Loop thread, once the site and the client are known; and again when a helper has said what it found. */
enum basic_auth_verdict basic_auth_ask(struct exchange *x, const struct http_head *head);

#endif
