/* What a server without a configuration file is like, and what `serve` finds out about the folder that it is
 * given. Supervisor's thread. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/must.h"
#include "engine/base/str.h"
#include "engine/config.h"

/* A value of ours, where this build has the setting. */
static void set(struct pool_conf *pool, const char *name, const char *value)
{
    char error[256];
    void *in;
    const struct setting_row *row = pool_setting(pool, name, &in);

    if (row) {
        MUST(settings_set(row, in, NULL, value, NULL, 0, error, sizeof error) == 0);
    }
}

void config_make_file_less(struct config *config)
{
    struct pool_conf *pool = config->pools;
    char here[PATH_MAX];

    set(pool, "pm", "static");
    set(pool, "clear_env", "no");
    set(pool, "catch_workers_output", "yes");
    set(pool, "request_terminate_timeout", "2m");
    set(pool, "http.listen", "127.0.0.1:8080");
    if (getcwd(here, sizeof here)) {
        set(pool, "http.document_root", here);
    }
    if (config->cli->finds_out) { /* somebody works on these files */
        set(pool, "http.static_cache_ttl", "no-cache");
    }
    config->global.daemonize = false;
    config->global.daemonize_given = true;
}

static bool has_file(const char *directory, const char *name)
{
    struct stat st;
    char *path = xasprintf("%s/%s", directory, name);
    bool is_file = stat(path, &st) == 0 && S_ISREG(st.st_mode);

    free(path);
    return is_file;
}

/* The root is itself the folder of a project's public files: the project, malloc'ed; else NULL. */
static char *project_around(const char *root)
{
    char *real = realpath(root, NULL), *slash = real ? strrchr(real, '/') : NULL;
    bool is_public = slash && slash > real && (strcmp(slash, "/public") == 0 || strcmp(slash, "/web") == 0);

    if (is_public) {
        *slash = '\0';
    }
    if (!is_public || !has_file(real, "composer.json")) {
        free(real);
        return NULL;
    }
    return real;
}

/* A project that was moved, for example. What is served instead has more in it than is meant for everybody.
 */
static void warn_of_link(const char *root, const char *below)
{
    struct stat st;

    if (lstat(below, &st) == 0 && S_ISLNK(st.st_mode) && stat(below, &st) != 0) {
        log_warning("%s is a link that leads nowhere: all of %s is served instead", below, root);
    }
}

/* The folder of a project's public files, or NULL: `root` is one itself. */
static char *public_folder(const char *root)
{
    static const char *const usual[] = {"public", "web"};

    for (size_t i = 0; i < sizeof usual / sizeof *usual && !has_file(root, "index.php"); i++) {
        char *below = xasprintf("%s/%s", root, usual[i]);
        if (has_file(below, "index.php")) {
            return below;
        }
        warn_of_link(root, below);
        free(below);
    }
    return NULL;
}

/* Nothing else is served in its place. */
int config_check_folder(const struct config *config)
{
    const struct pool_conf *pool = config->pools;
    void *in;

    if (!pool_setting(pool, "http.document_root", &in) || pool_setting_text(pool, "http.document_root")) {
        return 0;
    }
    log_error(
        "the current folder cannot be found, it may have been removed: go to another one, or name the folder "
        "that is to be served (tokiophp serve DIR)");
    return -1;
}

void config_find_out(struct config *config)
{
    struct pool_conf *pool = config->pools;
    const char *root = pool_setting_text(pool, "http.document_root"),
               *index = pool_setting_text(pool, "http.index");
    char *below = root ? public_folder(root) : NULL;

    if (root) {
        config_watch_from(pool, root);
    }

    if (below) { /* a framework's links lead to files of the project */
        set(pool, "http.symlink_root", root);
        set(pool, "http.document_root", below);
        free(below);
    } else if (root) {
        char *project = project_around(root);

        if (project) {
            set(pool, "http.symlink_root", project);
            free(project);
        }
    }
    if (index && !*index) {
        set(pool, "http.index", "nearest:index.php");
    }
}
