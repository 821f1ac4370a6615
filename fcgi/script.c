/* From CGI variables to a script: see script.h. Without cgi.fix_pathinfo the web server's word is taken. */
#include "fcgi/script.h"

#include <string.h>

#include "engine/base/log.h"
#include "fcgi/facts.h"
#include "fcgi/pages.h"
#include "fcgi/pathinfo.h"

/* No ".." as a part of the path. */
static bool is_plain_path(const char *path)
{
    for (const char *p = strstr(path, ".."); p; p = strstr(p + 1, "..")) {
        if ((p == path || p[-1] == '/') && (p[2] == '\0' || p[2] == '/')) {
            return false;
        }
    }
    return true;
}

static void judge(struct request *r, const struct script_policy *policy, bool pages_only)
{
    if (!r->method) {
        pages_error(r, 200, "", LEVEL_DEBUG, NULL);
    } else if (pages_match(r, policy, pages_only)) {
        return;
    } else if (!r->script || pages_only) {
        r->script = NULL;
        pages_error(r, 404, "File not found.\n", LEVEL_DEBUG, "Primary script unknown");
    } else if (!script_policy_allows(policy, r->script)) {
        const char *message = arena_printf(
            r->arena, "Access to the script '%s' has been denied (see security.limit_extensions)", r->script);

        pages_error(r, 403, "Access denied.\n", LEVEL_NOTICE, message);
    }
}

/* A page's address is known before the file system is asked: monitors get no stat() calls. */
static bool page_without_file(struct facts *f, const struct script_policy *policy, bool pages_only)
{
    f->r->uri = f->name;
    if (f->r->method && f->name && !f->redirect && pages_match(f->r, policy, pages_only)) {
        return true;
    }
    f->r->uri = NULL;
    return false;
}

int script_resolve(struct request *r, const struct script_policy *policy, const struct cgi_rules *rules,
                   bool pages_only)
{
    struct facts f;

    r->uri = r->script = NULL;
    if (!facts_read(&f, r)) {
        judge(r, policy, pages_only);
        return 0;
    }
    if (!rules->fix_pathinfo) {
        r->uri = f.info ? f.info : f.name;
        f.script = !rules->discard_path && f.translated ? f.translated : f.script;
    } else if (page_without_file(&f, policy, pages_only)) {
        return f.failed ? -1 : 0;
    } else {
        pathinfo_fix(&f, rules);
    }
    r->script = f.script && is_plain_path(f.script) ? f.script : NULL;
    judge(r, policy, pages_only);
    return f.failed ? -1 : 0;
}
