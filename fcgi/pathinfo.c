/* See the header. The variables are rebuilt around the script that was found, and their old values kept as
 * ORIG_*. */
#include "fcgi/pathinfo.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/encoding.h"
#include "fcgi/seen_file.h"

/* mod_fastcgi's Action: SCRIPT_FILENAME names the wrapper, PATH_TRANSLATED the script, REDIRECT_URL the URL.
 */
static void undo_apache_action(struct facts *f)
{
    if (!f->proxied && f->translated && f->redirect && !facts_same(f->translated, f->script)) {
        f->script = f->translated;
        f->name = f->redirect;
    }
}

static const char *join(struct facts *f, const char *a, size_t a_n, const char *b)
{
    const char *made = arena_printf(f->r->arena, "%.*s%s", (int)a_n, a, b);

    f->failed |= !made;
    return made ? made : "";
}

/* The longest part of the script's path, ended in front of a slash, that is a file. Its length, or 0. */
static size_t file_part(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    struct stat st;

    while (n) {
        size_t slash = n;

        while (slash && path[slash - 1] != '/') {
            slash--;
        }
        if (!slash) {
            return 0;
        }
        n = slash - 1;
        if (!n || n >= sizeof(part)) {
            continue; /* no file can be called so */
        }
        memcpy(part, path, n);
        part[n] = '\0';
        if (stat(part, &st) == 0 && S_ISREG(st.st_mode)) {
            return n;
        }
    }
    return 0;
}

/* %XX decoded, "+" left alone. */
static const char *url_decoded(struct facts *f, const char *text)
{
    size_t n = strlen(text);
    char *out = arena_dup(f->r->arena, text, n);

    if (!out) {
        f->failed = true;
        return "";
    }
    out[url_decode((struct str){text, n}, out)] = '\0';
    return out;
}

/* Length of `name` without `tail`; 0 if it does not end so, or is nothing else. */
static size_t without_tail(const char *name, const char *tail)
{
    size_t n = strlen(name), t = strlen(tail);

    return n > t && strcmp(name + n - t, tail) == 0 ? n - t : 0;
}

/* Apache's ProxyPass gives no PATH_INFO: it is at the end of SCRIPT_NAME, perhaps decoded. */
static void strip_script_name(struct facts *f, const char *path_info, const char *decoded)
{
    size_t n = without_tail(f->name, path_info);

    if (!n && decoded) {
        n = without_tail(f->name, decoded);
    }
    if (n) {
        facts_keep(f, STR("ORIG_SCRIPT_NAME"), f->old_name);
        f->name = facts_copy(f, f->name, n);
        facts_set(f, STR("SCRIPT_NAME"), f->name);
        f->r->uri = f->name;
    }
}

/* There is path info behind the script and the web server did not say so. */
static void rebuild_path_info(struct facts *f, const char *path_info)
{
    const char *decoded = NULL;

    if (f->old_info) {
        /* What was sent as PATH_INFO was the script's URL with the path info behind it. */
        const char *name = f->proxied ? f->info : facts_copy(f, f->info, (size_t)(path_info - f->info));

        facts_set(f, STR("ORIG_PATH_INFO"), f->old_info);
        if (facts_same(f->old_name, name)) {
            f->r->uri = f->old_name;
        } else {
            facts_keep(f, STR("ORIG_SCRIPT_NAME"), f->old_name);
            facts_set(f, STR("SCRIPT_NAME"), name);
            f->r->uri = name;
        }
    } else if (f->proxied && f->name) {
        decoded = strchr(path_info, '%') ? url_decoded(f, path_info) : NULL;
        strip_script_name(f, path_info, decoded);
    }
    f->info = decoded ? decoded : path_info;
    facts_set(f, STR("PATH_INFO"), f->info);
}

/* PATH_TRANSLATED is what the path info would be as a file. */
static void rebuild_translated(struct facts *f)
{
    const char *info = f->info ? f->info : "";
    const char *made;

    if (f->root) {
        size_t n = strlen(f->root);

        made = join(f, f->root, n && f->root[n - 1] == '/' ? n - 1 : n, info);
    } else if (f->name && strstr(f->script, f->name)) {
        made = join(f, f->script, strlen(f->script) - strlen(f->name), info);
    } else {
        return;
    }
    facts_keep(f, STR("ORIG_PATH_TRANSLATED"), f->old_translated);
    facts_set(f, STR("PATH_TRANSLATED"), made);
}

/* The first `n` bytes of the path are the script. */
static void split_path(struct facts *f, size_t n)
{
    const char *whole = f->script;
    const char *behind = whole + n;
    const char *path_info = NULL;

    if (f->proxied) {
        path_info = facts_same(f->old_info, behind) ? NULL : behind;
    } else if (f->info && strlen(f->info) > strlen(behind)) {
        path_info = f->info + strlen(f->info) - strlen(behind);
    }
    if (path_info) {
        rebuild_path_info(f, path_info);
    }
    f->script = facts_copy(f, whole, n);
    if (!facts_same(f->old_filename, f->script)) {
        facts_keep(f, STR("ORIG_SCRIPT_FILENAME"), f->old_filename);
        facts_set(f, STR("SCRIPT_FILENAME"), f->script);
    }
    rebuild_translated(f);
}

static void settle_script_name(struct facts *f)
{
    if (facts_same(f->old_name, f->name)) {
        f->r->uri = f->old_name;
        return;
    }
    facts_keep(f, STR("ORIG_SCRIPT_NAME"), f->old_name);
    facts_set(f, STR("SCRIPT_NAME"), f->name);
    f->r->uri = f->name;
}

/* The path is no file as it stands. */
static void strip_path(struct facts *f)
{
    size_t n = file_part(f->script);

    if (n) {
        split_path(f, n);
    } else {
        facts_keep(f, STR("ORIG_SCRIPT_FILENAME"), f->old_filename);
        facts_set(f, STR("SCRIPT_FILENAME"), NULL);
        f->script = NULL;
    }
    if (!f->r->uri) {
        settle_script_name(f);
    }
}

/* The path exists. */
static void take_path(struct facts *f)
{
    if (!facts_same(f->old_filename, f->script)) {
        facts_keep(f, STR("ORIG_SCRIPT_FILENAME"), f->old_filename);
        facts_set(f, STR("SCRIPT_FILENAME"), f->script);
    }
    if (!f->proxied && f->redirect) {
        if (f->old_info) {
            facts_set(f, STR("ORIG_PATH_INFO"), f->old_info);
            facts_set(f, STR("PATH_INFO"), NULL);
        }
        if (f->old_translated) {
            facts_set(f, STR("ORIG_PATH_TRANSLATED"), f->old_translated);
            facts_set(f, STR("PATH_TRANSLATED"), NULL);
        }
    }
    settle_script_name(f);
}

void pathinfo_fix(struct facts *f, const struct cgi_rules *rules)
{
    size_t n;

    if (!f->root && rules->doc_root) {
        f->root = rules->doc_root;
        facts_set(f, STR("DOCUMENT_ROOT"), f->root);
    }
    f->old_filename = f->filename;
    f->old_translated = f->translated;
    f->old_info = f->info;
    f->old_name = f->name;
    undo_apache_action(f);
    n = strlen(f->script);
    if (n && (f->script[n - 1] == '/' || !seen_file_exists(f->script, n))) {
        strip_path(f);
    } else {
        take_path(f);
    }
}
