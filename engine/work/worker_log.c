/* What the server log says of a worker's running request, as php-fpm words it. Control thread, with the
 * worker's lock held. */
#include <ctype.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/work/pool_private.h"

/* A copy without control characters: the client chose these bytes. */
void worker_log_text(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; text && text[n] && n + 1 < size; n++) {
        out[n] = iscntrl((unsigned char)text[n]) ? '.' : text[n];
    }
    out[n] = '\0';
}

void worker_log_request(const struct worker *w, uint64_t now, const char *what, const char *then)
{
    const struct request *r = w->request ? w->request : atomic_load(&w->queued);
    uint64_t us = now - r->times.started;
    char script[256], method[16], uri[128], query[512];

    worker_log_text(script, sizeof(script), r->script);
    worker_log_text(method, sizeof(method), r->method);
    worker_log_text(uri, sizeof(uri), r->uri);
    worker_log_text(query, sizeof(query), r->query);
    log_warning("[pool %s] child %d, script '%s' (request: \"%s %s%s%s\") %s (%d.%06d sec), %s",
                w->pool->conf->name, (int)w->tid, script, method, uri, *query ? "?" : "", query, what,
                (int)(us / CLOCK_US_PER_SECOND), (int)(us % CLOCK_US_PER_SECOND), then);
}
