/* Ping, status and error answers. They run through PHP as requests without a script, so that they carry the
 * headers that php.ini asks for; the executor writes their text. Worker's thread. */
#include <string.h>

#include "engine/base/log.h"
#include "fcgi/pages.h"

static bool is_path(const char *path, const char *uri)
{
    return path && uri && strcmp(path, uri) == 0;
}

bool pages_match(struct request *r, const struct script_policy *policy, bool pages_only)
{
    const char *status = pages_only ? policy->status_listen_path : policy->status_path;

    if (is_path(policy->ping_path, r->uri)) {
        r->page = PAGE_PING;
    } else if (is_path(status, r->uri)) {
        r->page = PAGE_STATUS;
    }
    return r->page != PAGE_SCRIPT;
}

void pages_error(struct request *r, int status, const char *body, int level, const char *message)
{
    r->page = PAGE_ERROR;
    r->error_status = status;
    r->error_body = body;
    r->error_level = level;
    r->error_message = message;
}
