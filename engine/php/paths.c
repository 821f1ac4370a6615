/* The working directory. A thread-safe PHP keeps a text for each thread and brings every path into canonical
 * form, link by link, before it asks the kernel: slower by a twentieth of a page's instructions, and another
 * file where a path says "link/../name". Here the kernel gets the path as it is, as from php-fpm.
 *
 * What belongs to the thread is only touched by it; what belongs to the process is constant once there are
 * threads. */
#include "engine/php/paths.h"

#include <errno.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma weak ps_globals_id /* sessions may be missing in a PHP of somebody else's */
#include "ext/session/php_session.h"
#include "ext/standard/basic_functions.h"
#include "php_output.h"

#include "engine/base/clock.h"
#include "engine/php/caller.h"

static bool functions_are_ours;
static char home[MAXPATHLEN]; /* where threads are when no script runs: the pool's chdir, or "/" */

static _Thread_local bool owns_directory;
static _Thread_local bool is_away;     /* the last script's directory was not left */
static _Thread_local bool was_changed; /* by a script, since paths_may_be_elsewhere() */
static _Thread_local uint64_t looked_us;

void paths_start(void)
{
    if (!getcwd(home, sizeof home)) {
        strcpy(home, "/");
    }
}

void paths_are_answered(bool answered)
{
    functions_are_ours = answered;
}

void paths_thread_start(bool own)
{
    owns_directory = own;
}

static bool is_real(void)
{
    return owns_directory && functions_are_ours;
}

/* -- the directory as a text -- */

/* libphp does not export where a thread's virtual_cwd_globals are, but an array inside of them. */
static virtual_cwd_globals *virtual_globals(void)
{
    return (virtual_cwd_globals *)(void *)((char *)realpath_cache_get_buckets() -
                                           offsetof(virtual_cwd_globals, realpath_cache));
}

static cwd_state *virtual_directory(void)
{
    return &virtual_globals()->cwd;
}

static int is_no_directory(const cwd_state *state)
{
    struct stat st;

    return stat(state->cwd, &st) != 0 || !S_ISDIR(st.st_mode);
}

static int change_text(const char *directory)
{
    return virtual_file_ex(virtual_directory(), directory, is_no_directory, CWD_REALPATH) ? -1 : 0;
}

/* The script was found there, so nobody has to look whether there is such a directory. */
static int change_text_blindly(const char *directory)
{
    return virtual_file_ex(virtual_directory(), directory, NULL, CWD_REALPATH) ? -1 : 0;
}

static char *current_text(char *out, size_t size)
{
    const cwd_state *directory = virtual_directory();
    const char *text = directory->cwd && directory->cwd_length ? directory->cwd : "/";
    size_t n = strlen(text) + 1;

    if (!out) {
        return estrdup(text);
    }
    if (n > size) {
        errno = ERANGE;
        return NULL;
    }
    return memcpy(out, text, n);
}

const char *paths_virtual_directory(void)
{
    /* A thread without PHP has the process's: the supervisor may start programs, too. Not asked of libphp,
     * whose key for threads is somebody else's before PHP starts. */
    const cwd_state *directory = is_real() || !TSRMLS_CACHE ? NULL : virtual_directory();

    return directory && directory->cwd && directory->cwd_length ? directory->cwd : NULL;
}

const char *paths_place(const char *path, char joined[MAXPATHLEN])
{
    const cwd_state *directory;
    size_t n;

    if (is_real() || path[0] == '/') {
        return path;
    }
    directory = virtual_directory();
    n = strlen(path);
    if (n == 0) {
        errno = ENOENT;
        return NULL;
    }
    if (!directory->cwd || directory->cwd_length == 0) {
        return path;
    }
    if (directory->cwd_length + 1 + n >= MAXPATHLEN) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(joined, directory->cwd, directory->cwd_length);
    joined[directory->cwd_length] = '/';
    memcpy(joined + directory->cwd_length + 1, path, n + 1);
    return joined;
}

int paths_change(const char *directory)
{
    was_changed = true;
    return is_real() ? chdir(directory) : change_text(directory);
}

/* By others: a directory may be moved, or another one be in its place. A libphp that does not ask us says
 * nothing of a chdir(). */
bool paths_may_be_elsewhere(void)
{
    uint64_t now = clock_coarse_us();

    if (functions_are_ours && !was_changed && now - looked_us < CLOCK_US_PER_SECOND) {
        return false;
    }
    was_changed = false;
    looked_us = now;
    return true;
}

char *paths_current(char *out, size_t size)
{
    char text[MAXPATHLEN];

    if (!is_real()) {
        return current_text(out, size);
    }
    if (out) {
        return getcwd(out, size);
    }
    return getcwd(text, sizeof text) ? estrdup(text) : NULL;
}

char *paths_canonical(const char *path, char *out)
{
    char *here = path[0] == '/' ? NULL : paths_current(NULL, 0);
    bool asks_here = path[0] == '\0' && here;
    cwd_state state = {.cwd = estrdup(here && !asks_here ? here : "")};

    state.cwd_length = strlen(state.cwd);
    bool found = virtual_file_ex(&state, asks_here ? here : path, NULL, CWD_REALPATH) == 0;

    if (here) {
        efree(here);
    }
    if (found && !out) {
        return state.cwd;
    }
    if (found) {
        snprintf(out, MAXPATHLEN, "%s", state.cwd);
    }
    efree(state.cwd);
    return found ? out : NULL;
}

const char *paths_as_said(const char *function, uint32_t n, const char *canonical)
{
    const zval *said = is_real() ? caller_argument(function, n) : NULL;

    return said && Z_TYPE_P(said) == IS_STRING ? Z_STRVAL_P(said) : canonical;
}

const char *paths_pattern(const char *pattern, int flags, char escaped[2 * MAXPATHLEN])
{
    const zval *said = caller_argument(NULL, 1);
    char directory[MAXPATHLEN], *out = escaped;

    if (!said || Z_TYPE_P(said) != IS_STRING || Z_STRVAL_P(said)[0] == '/' || (flags & GLOB_NOESCAPE) ||
        !paths_current(directory, sizeof directory)) {
        return pattern;
    }
    size_t n = strlen(directory);

    if (strncmp(pattern, directory, n) != 0 || pattern[n] != '/' || strlen(pattern) >= MAXPATHLEN ||
        directory[strcspn(directory, "*?[]{}\\~")] == '\0') {
        return pattern;
    }
    for (const char *at = pattern; at < pattern + n; at++) {
        if (strchr("*?[]{}\\~", *at)) {
            *out++ = '\\';
        }
        *out++ = *at;
    }
    strcpy(out, pattern + n);
    return escaped;
}

/* -- a script's visit -- */

static bool is_relative(const char *path)
{
    return path && *path && *path != '/';
}

static bool has_callback(void)
{
    php_output_handler **handlers = zend_stack_base(&OG(handlers));

    for (int i = 0; i < zend_stack_count(&OG(handlers)); i++) {
        if (handlers[i]->flags & PHP_OUTPUT_HANDLER_USER) {
            return true;
        }
    }
    return false;
}

/* Whether something can still ask where it is: code that runs after the script, as php-fpm's does at home;
 * or a setting that names a file from there. Most scripts leave no such thing, and save a system call. */
static bool must_go_home(void)
{
    return BG(user_shutdown_function_names) || EG(objects_store).top > 1 || has_callback() ||
           (&ps_globals_id && PS(session_status) == php_session_active) || is_relative(PG(error_log)) ||
           is_relative(PG(upload_tmp_dir)) || is_relative(PG(sys_temp_dir));
}

static void go_home(void)
{
    is_away = chdir(home) != 0;
}

static bool has_relative(const char *list)
{
    while (list && *list == '/') {
        list = strchr(list, ':');
        list = list ? list + 1 : NULL;
    }
    return list && *list;
}

void paths_begin(bool own_settings)
{
    if (is_away && (own_settings || (&ps_globals_id && PS(auto_start)) || has_relative(PG(open_basedir)))) {
        go_home();
    }
}

void paths_enter(const char *script, cwd_state *before)
{
    if (is_real()) {
        bool entered = script && virtual_chdir_file(script, chdir) == 0;

        if (!entered && is_away) {
            go_home();
        }
        is_away = entered;
        return;
    }
    cwd_state *directory = virtual_directory();

    *before = *directory;
    directory->cwd = estrndup(before->cwd, before->cwd_length);
    if (script) {
        virtual_chdir_file(script, change_text_blindly);
    }
}

void paths_leave(cwd_state *before)
{
    if (is_real()) {
        if (must_go_home()) {
            go_home();
        }
        return;
    }
    cwd_state *directory = virtual_directory();

    efree(directory->cwd);
    *directory = *before;
}

/* php_request_startup() takes the cache of names away where there is an open_basedir, and nobody gives it
 * back: the worker would go without for good. */
void paths_request_end(void)
{
    zend_long *limit = &virtual_globals()->realpath_cache_size_limit;
    zend_ini_entry *size;

    if (*limit != 0 || (PG(open_basedir) && *PG(open_basedir))) {
        return;
    }
    size = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("realpath_cache_size"));
    if (size && size->value) {
        zend_string *complaint = NULL; /* heard at the start already */

        *limit = zend_ini_parse_quantity(size->value, &complaint);
        if (complaint) {
            zend_string_release(complaint);
        }
    }
}
