/* From CGI variables to a script: see script.h. With cgi.fix_pathinfo (the default) the script is the
 * longest leading part of the path that is a file, and PATH_INFO what follows it; the variables are rebuilt
 * around that and their old values kept as ORIG_*. Without it the web server's word is taken. At most one
 * stat() for a script that exists. Worker's thread; strings live in the request's arena. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "fcgi/pages.h"
#include "fcgi/script.h"
#include "fcgi/seen_file.h"

/* What the web server said, while it is being worked out. A NULL is an absent variable. */
struct facts {
    struct request *r;
    const char *filename, *translated, *info, *name, *redirect, *root; /* current values */
    const char *old_filename, *old_translated, *old_info, *old_name;   /* as received */
    const char *script;
    bool proxied; /* Apache's mod_proxy: a prefix was cut off SCRIPT_FILENAME */
    bool failed;  /* the arena said no */
};

/* -- variables ----------------------------------------------------------------------------------------- */

static struct param *find(const struct request *r, struct str name)
{
    return (struct param *)request_param_find(r, name);
}

const char *script_get(const struct request *r, struct str name)
{
    const struct param *p = find(r, name);

    return p ? p->value : NULL;
}

static void remove_all(struct request *r, struct str name)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];

        if (p->name_len != name.n || memcmp(p->name, name.p, name.n) != 0) {
            r->params[kept++] = *p;
        }
    }
    r->param_count = kept;
}

int script_set(struct request *r, struct str name, const char *value)
{
    if (!value) {
        remove_all(r, name);
        return 0;
    }
    struct param *p = find(r, name);

    if (!p) {
        return request_param(r, name, str_of(value));
    }
    p->value_len = (uint32_t)strlen(value);
    p->value = arena_dup(r->arena, value, p->value_len);
    if (!p->value) {
        p->value = "";
        p->value_len = 0;
        return -1;
    }
    return 0;
}

static void set(struct facts *f, struct str name, const char *value)
{
    if (script_set(f->r, name, value) < 0) {
        f->failed = true;
    }
}

/* ORIG_x keeps what x was, if there was one. */
static void keep(struct facts *f, struct str orig_name, const char *value)
{
    if (value) {
        set(f, orig_name, value);
    }
}

static const char *copy(struct facts *f, const char *p, size_t n)
{
    const char *made = arena_dup(f->r->arena, p, n);

    f->failed |= !made;
    return made ? made : "";
}

static const char *join(struct facts *f, const char *a, size_t a_n, const char *b)
{
    const char *made = arena_printf(f->r->arena, "%.*s%s", (int)a_n, a, b);

    f->failed |= !made;
    return made ? made : "";
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* -- what some web servers say ------------------------------------------------------------------------- */

/* IIS puts SCRIPT_NAME in front of PATH_INFO. */
static void undo_iis(struct facts *f)
{
    const char *software = script_get(f->r, STR("SERVER_SOFTWARE"));

    if (!software || !f->name || !f->info || strncmp(software, "Microsoft-IIS", 13) != 0 ||
        strncmp(f->info, f->name, strlen(f->name)) != 0) {
        return;
    }
    set(f, STR("ORIG_PATH_INFO"), f->info);
    f->info += strlen(f->name);
    if (!*f->info) {
        f->info = NULL;
    }
    set(f, STR("PATH_INFO"), f->info);
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
        f->filename = copy(f, path, strcspn(path, "?"));
        set(f, STR("SCRIPT_FILENAME"), f->filename);
    }
}

/* mod_fastcgi's Action: SCRIPT_FILENAME names the wrapper, PATH_TRANSLATED the script, REDIRECT_URL the URL.
 */
static void undo_apache_action(struct facts *f)
{
    if (!f->proxied && f->translated && f->redirect && !same(f->translated, f->script)) {
        f->script = f->translated;
        f->name = f->redirect;
    }
}

/* -- cgi.fix_pathinfo ---------------------------------------------------------------------------------- */

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

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;

    return at && (c >= 'A' || (c >= '0' && c <= '9')) ? (int)(at - digits) : -1;
}

/* %XX decoded, "+" left alone. */
static const char *url_decoded(struct facts *f, const char *text)
{
    size_t n = strlen(text);
    char *out = arena_dup(f->r->arena, text, n);
    char *to = out;

    if (!out) {
        f->failed = true;
        return "";
    }
    for (const char *p = out; *p; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;

        if (low >= 0) {
            *to++ = (char)(high * 16 + low);
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
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
        keep(f, STR("ORIG_SCRIPT_NAME"), f->old_name);
        f->name = copy(f, f->name, n);
        set(f, STR("SCRIPT_NAME"), f->name);
        f->r->uri = f->name;
    }
}

/* There is path info behind the script and the web server did not say so. */
static void rebuild_path_info(struct facts *f, const char *path_info)
{
    const char *decoded = NULL;

    if (f->old_info) {
        /* What was sent as PATH_INFO was the script's URL with the path info behind it. */
        const char *name = f->proxied ? f->info : copy(f, f->info, (size_t)(path_info - f->info));

        set(f, STR("ORIG_PATH_INFO"), f->old_info);
        if (same(f->old_name, name)) {
            f->r->uri = f->old_name;
        } else {
            keep(f, STR("ORIG_SCRIPT_NAME"), f->old_name);
            set(f, STR("SCRIPT_NAME"), name);
            f->r->uri = name;
        }
    } else if (f->proxied && f->name) {
        decoded = strchr(path_info, '%') ? url_decoded(f, path_info) : NULL;
        strip_script_name(f, path_info, decoded);
    }
    f->info = decoded ? decoded : path_info;
    set(f, STR("PATH_INFO"), f->info);
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
    keep(f, STR("ORIG_PATH_TRANSLATED"), f->old_translated);
    set(f, STR("PATH_TRANSLATED"), made);
}

/* The first `n` bytes of the path are the script. */
static void split_path(struct facts *f, size_t n)
{
    const char *whole = f->script;
    const char *behind = whole + n;
    const char *path_info = NULL;

    if (f->proxied) {
        path_info = same(f->old_info, behind) ? NULL : behind;
    } else if (f->info && strlen(f->info) > strlen(behind)) {
        path_info = f->info + strlen(f->info) - strlen(behind);
    }
    if (path_info) {
        rebuild_path_info(f, path_info);
    }
    f->script = copy(f, whole, n);
    if (!same(f->old_filename, f->script)) {
        keep(f, STR("ORIG_SCRIPT_FILENAME"), f->old_filename);
        set(f, STR("SCRIPT_FILENAME"), f->script);
    }
    rebuild_translated(f);
}

static void settle_script_name(struct facts *f)
{
    if (same(f->old_name, f->name)) {
        f->r->uri = f->old_name;
        return;
    }
    keep(f, STR("ORIG_SCRIPT_NAME"), f->old_name);
    set(f, STR("SCRIPT_NAME"), f->name);
    f->r->uri = f->name;
}

/* The path is no file as it stands. */
static void strip_path(struct facts *f)
{
    size_t n = file_part(f->script);

    if (n) {
        split_path(f, n);
    } else {
        keep(f, STR("ORIG_SCRIPT_FILENAME"), f->old_filename);
        set(f, STR("SCRIPT_FILENAME"), NULL);
        f->script = NULL;
    }
    if (!f->r->uri) {
        settle_script_name(f);
    }
}

/* The path exists. */
static void take_path(struct facts *f)
{
    if (!same(f->old_filename, f->script)) {
        keep(f, STR("ORIG_SCRIPT_FILENAME"), f->old_filename);
        set(f, STR("SCRIPT_FILENAME"), f->script);
    }
    if (!f->proxied && f->redirect) {
        if (f->old_info) {
            set(f, STR("ORIG_PATH_INFO"), f->old_info);
            set(f, STR("PATH_INFO"), NULL);
        }
        if (f->old_translated) {
            set(f, STR("ORIG_PATH_TRANSLATED"), f->old_translated);
            set(f, STR("PATH_TRANSLATED"), NULL);
        }
    }
    settle_script_name(f);
}

static void fix_pathinfo(struct facts *f, const struct cgi_rules *rules)
{
    size_t n;

    if (!f->root && rules->doc_root) {
        f->root = rules->doc_root;
        set(f, STR("DOCUMENT_ROOT"), f->root);
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

/* -- may it run ---------------------------------------------------------------------------------------- */

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

static bool extension_allowed(const struct script_policy *policy, const char *script)
{
    size_t n = strlen(script);

    if (!policy->extensions) {
        return true;
    }
    for (char *const *e = policy->extensions; *e; e++) {
        size_t e_n = strlen(*e);

        if (n > e_n && strcmp(script + n - e_n, *e) == 0) {
            return true;
        }
    }
    return false;
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
    } else if (!extension_allowed(policy, r->script)) {
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
    struct facts f = {.r = r,
                      .filename = script_get(r, STR("SCRIPT_FILENAME")),
                      .translated = script_get(r, STR("PATH_TRANSLATED")),
                      .info = script_get(r, STR("PATH_INFO")),
                      .name = script_get(r, STR("SCRIPT_NAME")),
                      .redirect = script_get(r, STR("REDIRECT_URL")),
                      .root = script_get(r, STR("DOCUMENT_ROOT"))};

    r->uri = r->script = NULL;
    if (!f.filename && !f.translated) {
        judge(r, policy, pages_only);
        return 0;
    }
    undo_iis(&f);
    undo_apache_proxy(&f);
    f.script = f.filename ? f.filename : f.translated;
    if (!rules->fix_pathinfo) {
        r->uri = f.info ? f.info : f.name;
        f.script = !rules->discard_path && f.translated ? f.translated : f.script;
    } else if (page_without_file(&f, policy, pages_only)) {
        return f.failed ? -1 : 0;
    } else {
        fix_pathinfo(&f, rules);
    }
    r->script = f.script && is_plain_path(f.script) ? f.script : NULL;
    judge(r, policy, pages_only);
    return f.failed ? -1 : 0;
}

/* -- the pool's policy --------------------------------------------------------------------------------- */

int script_policy_init(struct script_policy *policy, const struct pool_settings *s)
{
    const char *list = s->limit_extensions ? s->limit_extensions : ".php .phar";
    size_t count = 0;

    *policy = (struct script_policy){.ping_path = s->ping_path, .status_path = s->status_path};
    policy->status_listen_path = s->status_path ? s->status_path : "/";
    if (!*list) {
        return 0;
    }
    policy->extensions = calloc(strlen(list) / 2 + 2, sizeof(char *));
    if (!policy->extensions) {
        return -1;
    }
    for (const char *p = list + strspn(list, " \t"); *p; p += strspn(p, " \t")) {
        size_t n = strcspn(p, " \t");

        policy->extensions[count] = strndup(p, n);
        if (!policy->extensions[count++]) {
            script_policy_free(policy);
            return -1;
        }
        p += n;
    }
    return 0;
}

void script_policy_free(struct script_policy *policy)
{
    for (char **e = policy->extensions; e && *e; e++) {
        free(*e);
    }
    free(policy->extensions);
    policy->extensions = NULL;
}
