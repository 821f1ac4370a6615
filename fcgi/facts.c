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
    if (!f->software || !f->name || !f->info || strncmp(f->software, "Microsoft-IIS", 13) != 0 ||
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

static void take(const struct param *p, const char *name, const char **value)
{
    if (memcmp(p->name, name, p->name_len) == 0) {
        *value = p->value;
    }
}

/* One look at each variable; the last one of a name counts. */
static void collect(struct facts *f)
{
    for (size_t i = 0; i < f->r->param_count; i++) {
        const struct param *p = &f->r->params[i];

        switch (p->name_len) {
        case sizeof("PATH_INFO") - 1: take(p, "PATH_INFO", &f->info); break;
        case sizeof("SCRIPT_NAME") - 1: take(p, "SCRIPT_NAME", &f->name); break;
        case sizeof("REDIRECT_URL") - 1: take(p, "REDIRECT_URL", &f->redirect); break;
        case sizeof("DOCUMENT_ROOT") - 1: take(p, "DOCUMENT_ROOT", &f->root); break;
        case sizeof("SCRIPT_FILENAME") - 1: /* and of this length are two more */
            take(p, "SCRIPT_FILENAME", &f->filename);
            take(p, "PATH_TRANSLATED", &f->translated);
            take(p, "SERVER_SOFTWARE", &f->software);
            break;
        default: break;
        }
    }
}

bool facts_read(struct facts *f, struct request *r)
{
    *f = (struct facts){.r = r};
    collect(f);
    if (!f->filename && !f->translated) {
        return false;
    }
    undo_iis(f);
    undo_apache_proxy(f);
    f->script = f->filename ? f->filename : f->translated;
    return true;
}
