/* worker.script: what can be known of it before it boots; and where the patterns of worker.watch begin.
 * Supervisor's thread. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "engine/base/str.h"
#include "engine/config.h"

/* Names are what PHP sees: in a pool with a root directory of its own, from there. */
static bool is_file(const struct pool_settings *s, const char *folder, size_t n, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    int length = snprintf(path, sizeof path, "%s%.*s%s", s->chroot ? s->chroot : "", (int)n, folder, name);

    return length > 0 && (size_t)length < sizeof path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* -- worker.watch -- */

static size_t parent(const char *path, size_t n)
{
    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    return n > 0 ? n - 1 : 0;
}

/* The project: the folder with a composer.json that the file is in or below; else the folder that it is in.
 */
static size_t project_of(const struct pool_settings *s, const char *file)
{
    size_t folder = parent(file, strlen(file));

    for (size_t n = folder; n > 0; n = parent(file, n)) {
        if (is_file(s, file, n, "/composer.json")) {
            return n;
        }
    }
    return folder;
}

/* The first one that says so counts. */
static void begin_at(struct pool_settings *s, const char *folder, size_t n)
{
    while (n > 0 && folder[n - 1] == '/') {
        n--;
    }
    if (!s->worker_watch_from) {
        s->worker_watch_from = xstrndup(folder, n);
    }
}

static int check_watch(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    if (!s->worker_watch || !*s->worker_watch) {
        return 0;
    }
    if (strstr(s->worker_watch, "../")) {
        log_error("[pool %s] worker.watch: patterns with ../ are not understood; write the folder's name",
                  pool->name);
        return -1;
    }
    const char *root = pool_setting_text(pool, "http.document_root");
    char *file = s->worker_script ? xstrdup(s->worker_script) : xasprintf("%s/", root ? root : "");

    begin_at(s, file, project_of(s, file));
    free(file);
    return 0;
}

void config_watch_from(struct pool_conf *pool, const char *folder)
{
    if (pool->s.worker_watch) {
        begin_at(&pool->s, folder, strlen(folder));
    }
}

/* -- all -- */

/* Where it would do nothing; what php.ini has is known when PHP starts. */
static void check_preload(const struct pool_conf *pool)
{
    const struct pool_settings *s = &pool->s;
    bool has_own = settings_has_key(s->php_value, "opcache.preload") ||
                   settings_has_key(s->php_admin_value, "opcache.preload");
    const char *why = s->worker_script          ? "worker.script is set"
                      : s->chroot && *s->chroot ? "chroot is set"
                      : has_own                 ? "opcache.preload is set"
                                                : NULL;

    if (s->preload && why) {
        log_warning("[pool %s] preload = auto does nothing: %s", pool->name, why);
    }
}

int config_check_script(struct pool_conf *pool)
{
    struct pool_settings *s = &pool->s;

    check_preload(pool);
    s->preload = s->preload && !s->worker_script && !(s->chroot && *s->chroot);

    if (s->worker_num == 0) {
        s->worker_num = s->max_children;
    }
    if (check_watch(pool) < 0) {
        return -1;
    }
    if (!s->worker_script) {
        return 0;
    }
    if (!is_file(s, s->worker_script, strlen(s->worker_script), "")) {
        log_error("[pool %s] the worker.script '%s' does not exist or is not a file", pool->name,
                  s->worker_script);
        return -1;
    }
    return 0;
}
