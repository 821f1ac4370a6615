/* Which pool a request belongs to. An HTTP listener belongs to the first pool that names its address; other
 * pools may claim requests there by host name (http.server_name) and by path (http.routes), and any pattern
 * can be sent to a FastCGI server (http.upstream). A site says where files are and how they are served, a
 * target which process runs the scripts.
 *
 * Made once in the engine process (what the configuration says of it is checked in addresses.c), read-only
 * afterwards: any thread. */
#ifndef HTTP_SITE_SITES_H
#define HTTP_SITE_SITES_H

#include "engine/engine.h"
#include "http/content/site.h"
#include "http/net/tls.h"

struct helper_pool;
struct upstream_target;

struct site_choice {
    const struct http_site *site;
    struct upstream_target *target; /* NULL: this process's workers */
    struct guest *guest;            /* the pool that the request is counted for; NULL: this process's */
    bool foreign;                   /* the target's files need not be here: nothing is looked up */
    unsigned client_rule;           /* of the host: what is asked of its clients (net/tls.h) */
};

struct sites;

/* table: of struct http_settings; helpers: for static files. NULL: reported. */
struct sites *sites_create(struct pool *process, const struct setting_table *table,
                           struct helper_pool *helpers);
void sites_destroy(struct sites *sites);
const struct http_site *sites_main(const struct sites *sites); /* the listener's own pool */
/* The hosts that a handshake can name, the listener's own first; the sites'. */
const struct tls_host *sites_tls(const struct sites *sites, size_t *count);
/* host: the request's own, as it came; never X-Forwarded-Host, which is for PHP to read. */
struct site_choice sites_choose(const struct sites *sites, struct str host, struct str path);

#endif
