/* Routing. A path is read (path.c) as far as it names a script, or else to its end, looked up below the
 * document root (docroot.c), judged by its name (script_names.c), and the result is remembered for a second
 * (brief_cache.c).
 *
 * Five modes, by http.index:
 *   (empty)      files and directories as they are; "/dir/" is dir/index.php, then dir/index.html
 *   index.php    front controller: existing static files, everything else runs index.php
 *   index.html   single-page application: as the first, and unknown paths get index.html
 *   /index.php   as the first, and unknown paths run index.php (the slash: a fallback, not the only script)
 *   nearest:index.php  as the first, and unknown paths run the nearest index.php above them
 *
 * Any loop thread; a router is read-only but for its caches, which lock themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "http/content/brief_cache.h"
#include "http/content/docroot.h"
#include "http/http_settings.h"
#include "http/site/route_private.h"
#include "http/wire/path.h"
#include "http/wire/script_names.h"

#define REMEMBER_US      900000
#define REMEMBER_ENTRIES 4096

/* What is remembered of a path, followed by the texts, each with its NUL: path, root, script_name, path_info,
 * location. */
struct remembered {
    enum route_kind kind;
    int status;
    uint16_t path_n, root_n, script_n, info_n, location_n;
};

/* A resolution under way; lives on the stack. */
struct draft {
    struct router *router;
    struct arena *arena;
    uint64_t now_us;
    enum route_kind kind;
    int status;
    bool unknown; /* something could not be looked up */
    struct docroot_find found;
    char script_name[PATH_TEXT_MAX + 64];
    char path_info[PATH_TEXT_MAX + 1];
    char location[3 * PATH_TEXT_MAX + 8];
};

struct router *router_create(const struct http_settings *settings, const char *limit_extensions)
{
    const char *index = settings->index != NULL ? settings->index : "";
    bool nearest = strncmp(index, "nearest:", 8) == 0;
    index += nearest ? 8 : 0;
    if (settings->document_root == NULL || settings->document_root[0] == '\0') {
        log_error("http.document_root is not set");
        return NULL;
    }
    struct router *r = xcalloc(1, sizeof(*r));
    char cleaned[PATH_TEXT_MAX + 1];
    snprintf(r->index, sizeof(r->index), "%s%s", index[0] == '\0' || index[0] == '/' ? "" : "/", index);
    if (index[0] != '\0' && (path_name(str_of(r->index), cleaned, NULL) < 2 ||
                             strcmp(cleaned, r->index) != 0 || strlen(r->index) >= BRIEF_KEY_MAX)) {
        log_error("http.index = \"%s\": expected the name of a file in the document root", index);
        free(r);
        return NULL;
    }
    r->names = script_names_create(limit_extensions);
    r->index_runs = index[0] != '\0' && script_names_runs(r->names, str_of(r->index));
    r->mode = nearest && index[0] != '\0'         ? MODE_NEAREST
              : index[0] == '\0'                  ? MODE_FILES
              : index[0] == '/' || !r->index_runs ? MODE_FALLBACK
                                                  : MODE_FRONT_CONTROLLER;
    r->clean_urls = settings->clean_urls;
    r->document_root = settings->document_root;
    r->root = docroot_create(settings->document_root, settings->follow_symlinks, settings->symlink_root);
    r->cache = brief_cache_create(REMEMBER_ENTRIES, REMEMBER_US);
    if (r->root == NULL || r->cache == NULL) {
        log_error("not enough memory for the router of %s", settings->document_root);
        router_destroy(r);
        return NULL;
    }
    return r;
}

void router_destroy(struct router *r)
{
    if (r != NULL) {
        docroot_destroy(r->root);
        script_names_destroy(r->names);
        brief_cache_destroy(r->cache);
        free(r);
    }
}

/* -- outcomes -- */

static void end_error(struct draft *d, int status)
{
    d->kind = ROUTE_ERROR;
    d->status = status;
}

/* A regular file was found under this name: run it, send it, or refuse. */
static void end_file(struct draft *d, const char *name, const char *path_info)
{
    const struct script_names *names = d->router->names;
    struct str asked = str_of(name), real = str_of(d->found.real);
    d->status = 200;
    if (script_names_runs(names, asked) && script_names_runs(names, real)) {
        d->kind = ROUTE_SCRIPT;
        snprintf(d->script_name, sizeof(d->script_name), "%s", name);
        snprintf(d->path_info, sizeof(d->path_info), "%s", path_info);
    } else if (script_names_is_source(names, asked) || script_names_is_source(names, real)) {
        end_error(d, 403);
    } else if (path_info[0] != '\0') {
        end_error(d, 404);
    } else {
        d->kind = ROUTE_FILE;
    }
}

static void end_redirect(struct draft *d, const char *path)
{
    size_t n = path_encode(str_of(path), d->location, sizeof(d->location) - 2);
    if (n == 0) {
        end_error(d, 414);
        return;
    }
    memcpy(d->location + n, "/", 2);
    d->kind = ROUTE_REDIRECT;
    d->status = 301;
}

static enum docroot_kind look_up(struct draft *d, const char *path)
{
    enum docroot_kind kind = docroot_find(d->router->root, path, d->now_us, &d->found);
    d->unknown |= kind == DOCROOT_UNKNOWN;
    return kind;
}

/* The configured index, whatever path was asked for. It serves many paths, so its place is remembered apart.
 */
static void end_index(struct draft *d)
{
    struct router *r = d->router;
    struct str key = str_of(r->index);
    size_t n;
    struct docroot_find *known = brief_cache_get(r->cache, 'i', key, d->now_us, d->arena, &n);
    if (known != NULL) {
        size_t real_n = strlen((char *)known) + 1;
        memcpy(d->found.real, known, real_n);
        memcpy(d->found.root, (char *)known + real_n, n - real_n);
        end_file(d, r->index, "");
        return;
    }
    enum docroot_kind kind = look_up(d, r->index);
    if (kind != DOCROOT_FILE) {
        end_error(d, kind == DOCROOT_FORBIDDEN ? 403 : 404);
        return;
    }
    char both[2 * PATH_MAX];
    size_t real_n = strlen(d->found.real) + 1, root_n = strlen(d->found.root) + 1;
    memcpy(both, d->found.real, real_n);
    memcpy(both + real_n, d->found.root, root_n);
    brief_cache_put(r->cache, 'i', key, d->now_us, both, real_n + root_n, false);
    end_file(d, r->index, "");
}

/* The index in the deepest directory on the way to the path that has one. */
static void end_nearest(struct draft *d, const char *path)
{
    const char *leaf = d->router->index + 1;
    char name[PATH_TEXT_MAX + 64];
    size_t found_n = 0;
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t n = (size_t)(slash - path) + 1;
        snprintf(name, sizeof(name), "%.*s%s", (int)n, path, leaf);
        if (look_up(d, name) == DOCROOT_FILE) {
            found_n = n;
            continue;
        }
        name[n] = '\0';
        if (look_up(d, name) != DOCROOT_DIRECTORY) {
            break;
        }
    }
    snprintf(name, sizeof(name), "%.*s%s", (int)found_n, path, leaf);
    if (found_n > 0 && look_up(d, name) == DOCROOT_FILE) {
        end_file(d, name, "");
    } else {
        end_error(d, 404);
    }
}

static void end_unknown(struct draft *d, const char *path)
{
    if (d->router->mode == MODE_FILES) {
        end_error(d, 404);
    } else if (d->router->mode == MODE_NEAREST) {
        end_nearest(d, path);
    } else {
        end_index(d);
    }
}

/* -- steps -- */

/* directory + suffix as a file; true when that was the end. */
static bool try_file(struct draft *d, const char *path, const char *suffix)
{
    char name[PATH_TEXT_MAX + 64];
    snprintf(name, sizeof(name), "%s%s", path, suffix);
    if (look_up(d, name) != DOCROOT_FILE) {
        return false;
    }
    end_file(d, name, "");
    return true;
}

/* path ends with a slash. */
static void resolve_directory(struct draft *d, const char *path)
{
    const struct router *r = d->router;
    if (r->mode == MODE_FALLBACK && strcmp(path, "/") == 0) {
        end_index(d);
        if (d->kind != ROUTE_ERROR) {
            return;
        }
    }
    bool php = script_names_runs(r->names, STR("index.php"));
    if ((php && try_file(d, path, "index.php")) || try_file(d, path, "index.html")) {
        return;
    }
    if (r->mode == MODE_FILES) {
        end_error(d, 403);
    } else {
        end_unknown(d, path);
    }
}

static bool try_clean_url(struct draft *d, const char *path, bool directory)
{
    if (!d->router->clean_urls || path[strlen(path) - 1] == '/' ||
        !script_names_runs(d->router->names, STR("x.php"))) {
        return false;
    }
    return try_file(d, path, ".php") || (directory && try_file(d, path, "/index.php"));
}

static void resolve_files(struct draft *d, const char *path, size_t n)
{
    enum docroot_kind kind = look_up(d, path);
    bool slash = path[n - 1] == '/';
    if (kind == DOCROOT_FORBIDDEN) {
        end_error(d, 403);
    } else if (kind == DOCROOT_FILE) {
        end_file(d, path, "");
    } else if (kind == DOCROOT_DIRECTORY && slash) {
        resolve_directory(d, path);
    } else if (try_clean_url(d, path, kind == DOCROOT_DIRECTORY)) {
        return;
    } else if (kind == DOCROOT_DIRECTORY) {
        end_redirect(d, path);
    } else {
        end_unknown(d, path);
    }
}

/* Only the index runs; what is not a plain file is the index's business. */
static void resolve_front_controller(struct draft *d, const char *path)
{
    const struct router *r = d->router;
    if (!script_names_is_source(r->names, str_of(path))) {
        enum docroot_kind kind = look_up(d, path);
        if (kind == DOCROOT_FILE) {
            end_file(d, path, "");
            if (d->kind == ROUTE_FILE) {
                return;
            }
        }
    }
    end_index(d);
}

/* "/x.php/more": the script is the first piece that has a script's name and is a file; with a front
 * controller it is the index, and nothing else. */
static bool is_script(void *ctx, const char *path, size_t n)
{
    struct draft *d = ctx;
    const struct router *r = d->router;
    if (r->mode == MODE_FRONT_CONTROLLER) {
        return strcmp(path, r->index) == 0;
    }
    return script_names_runs(r->names, (struct str){path, n}) && look_up(d, path) == DOCROOT_FILE;
}

/* The whole path has a text, too: rules by path (rules.c, basic_auth.c, sites.c) were held against it. */
static void resolve_script(struct draft *d, struct str raw, const char *path, struct str rest)
{
    char info[PATH_TEXT_MAX + 1];
    int n = path_text(raw, info);
    n = n < 0 ? n : path_text(rest, info);
    if (n < 0) {
        end_error(d, -n);
    } else if (d->router->mode == MODE_FRONT_CONTROLLER) {
        end_index(d);
        snprintf(d->path_info, sizeof(d->path_info), "%s", d->kind == ROUTE_SCRIPT ? info : "");
    } else {
        end_file(d, path, info);
    }
}

/* What can be no file's name, or is a hidden one that is not there, is the index's where there is one for
 * everything: a front controller's names are its own. */
static void resolve_odd(struct draft *d, struct str raw, const char *path, int status, bool unnameable)
{
    char text[PATH_TEXT_MAX + 1];
    bool free_name = unnameable || (status == 403 && look_up(d, path) == DOCROOT_NOTHING);
    if (d->router->mode == MODE_FILES || !free_name || path_text(raw, text) < 0) {
        end_error(d, status);
    } else {
        end_index(d);
    }
}

static void resolve(struct draft *d, struct str raw)
{
    char path[PATH_TEXT_MAX + 1];
    struct path_script script = {.is_here = is_script, .ctx = d};
    int n = path_name(raw, path, &script);
    if (script.rest.p) {
        resolve_script(d, raw, path, script.rest);
    } else if (n < 0) {
        resolve_odd(d, raw, path, -n, script.unnameable);
    } else if (d->router->mode == MODE_FRONT_CONTROLLER) {
        resolve_front_controller(d, path);
    } else {
        resolve_files(d, path, (size_t)n);
    }
    if (d->unknown) {
        end_error(d, 503);
    }
}

/* -- remembering -- */

/* Appends a text and its NUL, and gives its length. */
static uint16_t put_text(char *value, size_t *at, const char *text)
{
    size_t n = strlen(text);
    memcpy(value + *at, text, n + 1);
    *at += n + 1;
    return (uint16_t)n;
}

static struct remembered *remember(struct draft *d, struct str raw, struct arena *arena)
{
    const char *path = "", *root = "", *script = "", *info = "", *location = "";
    if (d->kind == ROUTE_SCRIPT || d->kind == ROUTE_FILE) {
        path = d->found.real;
        root = d->found.root;
    }
    if (d->kind == ROUTE_SCRIPT) {
        script = d->script_name;
        info = d->path_info;
    } else if (d->kind == ROUTE_REDIRECT) {
        location = d->location;
    }
    size_t n = sizeof(struct remembered) + strlen(path) + strlen(root) + strlen(script) + strlen(info) +
               strlen(location) + 5;
    struct remembered *made = arena_alloc(arena, n);
    if (made == NULL) {
        return NULL;
    }
    size_t at = 0;
    char *text = (char *)(made + 1);
    made->kind = d->kind;
    made->status = d->status;
    made->path_n = put_text(text, &at, path);
    made->root_n = put_text(text, &at, root);
    made->script_n = put_text(text, &at, script);
    made->info_n = put_text(text, &at, info);
    made->location_n = put_text(text, &at, location);
    if (!d->unknown) {
        brief_cache_put(d->router->cache, 'r', raw, d->now_us, made, n, d->kind == ROUTE_ERROR);
    }
    return made;
}

static struct str take_text(const char **at, uint16_t n)
{
    struct str text = {*at, n};
    *at += n + 1;
    return text;
}

static void fill(const struct remembered *known, struct str query, struct arena *arena, struct route *out)
{
    const char *at = (const char *)(known + 1);
    out->kind = known->kind;
    out->status = known->status;
    out->path = take_text(&at, known->path_n);
    out->root = take_text(&at, known->root_n);
    out->script_name = take_text(&at, known->script_n);
    out->path_info = take_text(&at, known->info_n);
    out->location = take_text(&at, known->location_n);
    if (out->kind == ROUTE_REDIRECT && query.p != NULL) {
        char *whole =
            arena_printf(arena, "%.*s?%.*s", (int)out->location.n, out->location.p, (int)query.n, query.p);
        if (whole != NULL) {
            out->location = str_of(whole);
        }
    }
}

void route_resolve(struct router *r, const struct http_head *head, struct arena *arena, struct route *out)
{
    uint64_t now_us = clock_coarse_us();
    size_t n;
    memset(out, 0, sizeof(*out));
    struct remembered *known = brief_cache_get(r->cache, 'r', head->path, now_us, arena, &n);
    if (known == NULL) {
        struct draft d;
        d.router = r;
        d.arena = arena;
        d.now_us = now_us;
        d.unknown = false;
        resolve(&d, head->path);
        known = remember(&d, head->path, arena);
    }
    if (known == NULL) {
        out->kind = ROUTE_ERROR;
        out->status = 503;
        return;
    }
    fill(known, head->query, arena, out);
}
