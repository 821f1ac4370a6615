/* Routing without a look at any file: what the path must mean where the files are. See route.h. */
#include <stdio.h>
#include <string.h>

#include "http/site/route_private.h"
#include "http/wire/path.h"
#include "http/wire/script_names.h"

static bool has_script_name(void *ctx, const char *path, size_t n)
{
    return script_names_runs(((const struct router *)ctx)->names, (struct str){path, n});
}

/* The script that a path means; what is behind it goes to info (PATH_TEXT_MAX + 1 bytes). Minus a status, or
 * the length of its name, in path. */
static int assume_script(struct router *r, struct str raw, char *path, char *info)
{
    struct path_script script = {.is_here = has_script_name, .ctx = r};
    int n = path_name(raw, path, &script);
    bool odd = n == -403 || script.unnameable;
    info[0] = '\0';
    if (script.rest.p) {
        int info_n = path_text(raw, info); /* as in route.c: rules by path were held against it */
        info_n = info_n < 0 ? info_n : path_text(script.rest, info);
        return info_n < 0 ? info_n : n;
    }
    if (n < 0 && (r->mode == MODE_FILES || !odd || path_text(raw, path) < 0)) {
        return n;
    }
    if (n > 0 && script_names_runs(r->names, (struct str){path, (size_t)n})) {
        return n;
    }
    if (r->mode != MODE_FILES) {
        return snprintf(path, PATH_TEXT_MAX + 1, "%s", r->index);
    }
    if (path[n - 1] != '/') {
        return n;
    }
    return n + snprintf(path + n, sizeof("index.php"), "index.php");
}

void route_assume(struct router *r, const struct http_head *head, struct arena *arena, struct route *out)
{
    char path[PATH_TEXT_MAX + sizeof("index.php")], info[PATH_TEXT_MAX + 1];
    int n = assume_script(r, head->path, path, info);
    memset(out, 0, sizeof(*out));
    out->kind = ROUTE_ERROR;
    out->status = n < 0 ? -n : 503;
    if (n < 0) {
        return;
    }
    char *script = arena_dup(arena, path, (size_t)n);
    out->path_info = (struct str){arena_dup(arena, info, strlen(info)), strlen(info)};
    out->script_name = str_of(script);
    out->root = str_of(r->document_root);
    out->path = str_of(script ? arena_join(arena, out->root, out->script_name) : NULL);
    if (out->path.p && out->path_info.p) {
        out->kind = ROUTE_SCRIPT;
        out->status = 200;
    }
}
