/* See the header. What some web servers say in their own way is put right here. */
#include "fcgi/facts.h"

#include <string.h>
#include <strings.h>

#include "fcgi/params.h"

void facts_set(struct facts *f, struct str name, const char *value)
{
    if (params_set(f->r, name, value) < 0) {
        f->failed = true;
    }
}

/* ORIG_x keeps what x was, if there was one. */
void facts_keep(struct facts *f, struct str orig_name, const char *value)
{
    if (value) {
        facts_set(f, orig_name, value);
    }
}

const char *facts_copy(struct facts *f, const char *p, size_t n)
{
    const char *made = arena_dup(f->r->arena, p, n);

    f->failed |= !made;
    return made ? made : "";
}

bool facts_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* IIS puts SCRIPT_NAME in front of PATH_INFO. */
static void undo_iis(struct facts *f)
{
    const char *software = params_get(f->r, STR("SERVER_SOFTWARE"));

    if (!software || !f->name || !f->info || strncmp(software, "Microsoft-IIS", 13) != 0 ||
        strncmp(f->info, f->name, strlen(f->name)) != 0) {
        return;
    }
    facts_set(f, STR("ORIG_PATH_INFO"), f->info);
    f->info += strlen(f->name);
    if (!*f->info) {
        f->info = NULL;
    }
    facts_set(f, STR("PATH_INFO"), f->info);
}

/* mod_proxy_fcgi and mod_proxy_balancer send "proxy:fcgi://host:port/path?query" as SCRIPT_FILENAME. */
static void undo_apache_proxy(struct facts *f)
{
    static const char *const prefixes[] = {"proxy:fcgi://", "proxy:balancer://"};

    for (size_t i = 0; f->filename && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t n = strlen(prefixes[i]);

        if (strncasecmp(f->filename, prefixes[i], n) != 0) {
            continue;
        }
        const char *path = strchr(f->filename + n, '/');

        f->proxied |= path != NULL;
        path = path ? path : f->filename;
        f->filename = facts_copy(f, path, strcspn(path, "?"));
        facts_set(f, STR("SCRIPT_FILENAME"), f->filename);
    }
}

bool facts_read(struct facts *f, struct request *r)
{
    *f = (struct facts){.r = r,
                        .filename = params_get(r, STR("SCRIPT_FILENAME")),
                        .translated = params_get(r, STR("PATH_TRANSLATED")),
                        .info = params_get(r, STR("PATH_INFO")),
                        .name = params_get(r, STR("SCRIPT_NAME")),
                        .redirect = params_get(r, STR("REDIRECT_URL")),
                        .root = params_get(r, STR("DOCUMENT_ROOT"))};
    if (!f->filename && !f->translated) {
        return false;
    }
    undo_iis(f);
    undo_apache_proxy(f);
    f->script = f->filename ? f->filename : f->translated;
    return true;
}
