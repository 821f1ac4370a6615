/* Ini settings beyond php.ini: the pool's, of a host, of a directory. Those of one request: ini_request.c.
 *
 * Every thread has its own table of ini entries. The pool's settings become part of it when the thread
 * starts; what .user.ini and ini_set() change goes through PHP's own list of modified entries, which its
 * request shutdown undoes. */
#include "engine/php/ini.h"

#include <pthread.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "php_ini.h"
#include "php_ini_builder.h"

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/php/cgi.h"
#include "engine/php/override.h"
#include "engine/php/preload.h"

#define USER_INI_DIRECTORIES 4096 /* cached .user.ini results per thread, then the cache starts anew */

struct user_ini {
    time_t expires;
    HashTable entries;
};

/* -- at start -- */

static const struct pool_conf *pool_of_process; /* set before PHP starts */

static void set_default(HashTable *configuration, const char *name, const char *value)
{
    zval text;

    ZVAL_NEW_STR(&text, zend_string_init(value, strlen(value), 1));
    zend_hash_str_update(configuration, name, strlen(name), &text);
}

/* Whom OPcache preloads as where nobody says, since the cache is this pool's alone. By name: OPcache looks up
 * nothing else. */
static void default_preload_user(HashTable *configuration)
{
    const char *user = pool_of_process ? pool_of_process->s.user : NULL;

    if (geteuid() != 0 || !user || !*user) {
        return;
    }
    if (user[strspn(user, "0123456789")] == '\0') {
        const struct passwd *pw = getpwuid((uid_t)strtoul(user, NULL, 10));

        user = pw ? pw->pw_name : NULL;
    }
    if (user) {
        set_default(configuration, "opcache.preload_user", user);
    }
}

/* Roomy, because a cache that fills up costs a new process; php.ini overrules all of it. A buffer of strings
 * that is full costs little, and the table in front of it is written whole at the start: 2 MB for 8 to 15, 4
 * MB from 16 on, twice as much at each power of two. */
void ini_defaults(HashTable *configuration)
{
    set_default(configuration, "opcache.memory_consumption", "256");
    set_default(configuration, "opcache.interned_strings_buffer", "15");
    set_default(configuration, "opcache.max_accelerated_files", "32531");
    set_default(configuration, "opcache.jit", "disable");
    default_preload_user(configuration);
    preload_defaults(configuration);
}

/* Settings that PHP reads only while it starts: php-fpm ignores them in a pool; here a pool has its own PHP.
 */
static bool is_startup_key(const char *key)
{
    return strcmp(key, "extension") == 0 || strcmp(key, "zend_extension") == 0 ||
           strncmp(key, "opcache.", sizeof("opcache.") - 1) == 0;
}

static void add_startup_pairs(struct php_ini_builder *out, const struct setting_pair *pairs)
{
    for (const struct setting_pair *p = pairs; p; p = p->next) {
        if (p->key && p->value && *p->value && is_startup_key(p->key)) {
            php_ini_builder_quoted(out, p->key, strlen(p->key), p->value, strlen(p->value));
        }
    }
}

char *ini_startup_entries(const struct cli_options *cli, const struct pool_conf *pool)
{
    struct php_ini_builder out;

    php_ini_builder_init(&out);
    for (const char *at = cli ? cli->php_defines : NULL; at && *at;) {
        size_t n = strcspn(at, "\n");
        char *define = strndup(at, n);

        if (n && define) {
            php_ini_builder_define(&out, define);
        }
        free(define);
        at += n + (at[n] == '\n');
    }
    if (pool) {
        add_startup_pairs(&out, pool->s.php_value);
        add_startup_pairs(&out, pool->s.php_admin_value);
    }
    /* OPcache would kill whoever holds its lock when a restart waits too long. What it protects between two
     * writes, another thread is writing to. */
    php_ini_builder_unquoted(&out, ZEND_STRL("opcache.force_restart_timeout"), ZEND_STRL("0"));
    php_ini_builder_unquoted(&out, ZEND_STRL("opcache.protect_memory"), ZEND_STRL("0"));
    return php_ini_builder_finish(&out);
}

/* -- the pool's, for good -- */

/* Not through zend_alter_ini_entry(): that would be undone after the first request. */
static bool set_for_good(const char *name, const char *value, bool admin)
{
    zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), name, strlen(name));

    if (!entry) {
        return false;
    }
    zend_string *text = zend_string_init(value, strlen(value), 1);

    if (entry->on_modify && entry->on_modify(entry, text, entry->mh_arg1, entry->mh_arg2, entry->mh_arg3,
                                             ZEND_INI_STAGE_ACTIVATE) != SUCCESS) {
        zend_string_release_ex(text, 1);
        return true; /* a value that PHP does not take is php-fpm's user's, too, silently */
    }
    entry->value = text;
    if (admin) {
        entry->modifiable = ZEND_INI_SYSTEM;
    }
    return true;
}

static bool is_word_in(const char *value, const char *const *words)
{
    for (; *words; words++) {
        if (strcasecmp(value, *words) == 0) {
            return true;
        }
    }
    return false;
}

static const char *flag_value(const char *value)
{
    static const char *const on[] = {"1", "on", "yes", "true", NULL};
    static const char *const off[] = {"", "0", "off", "no", "false", "none", NULL};

    return is_word_in(value, on) ? "1" : is_word_in(value, off) ? "0" : value;
}

/* Last line first: of a key that is given twice, the first line wins, as in php-fpm. */
static void apply_pairs(const struct setting_pair *pair, bool flag, bool admin, bool report)
{
    if (!pair) {
        return;
    }
    apply_pairs(pair->next, flag, admin, report);
    if (!pair->key || is_startup_key(pair->key)) {
        return;
    }
    const char *value = pair->value ? pair->value : "";

    if (!set_for_good(pair->key, flag ? flag_value(value) : value, admin) && report) {
        log_error("Unable to set php_%s '%s'", admin ? "admin_value" : "value", pair->key);
    }
}

void ini_apply_pool(const struct pool_conf *pool, bool report)
{
    if (!pool) {
        return;
    }
    zend_first_try
    {
        apply_pairs(pool->s.php_value, false, false, report);
        apply_pairs(pool->s.php_flag, true, false, report);
        apply_pairs(pool->s.php_admin_value, false, true, report);
        apply_pairs(pool->s.php_admin_flag, true, true, report);
    }
    zend_end_try();
}

ZEND_FUNCTION(ini_no_function)
{
    const zend_string *name = EX(func)->common.function_name;

    (void)return_value;
    zend_throw_error(NULL, "Call to undefined function %s()", ZSTR_VAL(name));
}

void ini_each_word(const char *list, void (*fn)(const char *word, size_t n, void *ctx), void *ctx)
{
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, " ,");

        if (n) {
            fn(at, n, ctx);
        }
        at += n + (at[n] != '\0');
    }
}

static void disable_class(const char *name, size_t n, void *ctx)
{
    char *copy = strndup(name, n);

    (void)ctx;
    if (copy) {
        zend_disable_class(copy, n);
        free(copy);
    }
}

static void disable_late(const char *name, size_t n, void *ctx)
{
    char *copy = strndup(name, n);

    (void)ctx;
    if (copy) {
        override_function(copy, zif_ini_no_function, NULL);
        free(copy);
    }
}

static void each_value(const char *key, void (*fn)(const char *value))
{
    const struct setting_pair *lists[] = {pool_of_process ? pool_of_process->s.php_value : NULL,
                                          pool_of_process ? pool_of_process->s.php_admin_value : NULL};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (const struct setting_pair *p = lists[i]; p; p = p->next) {
            if (p->key && p->value && strcmp(p->key, key) == 0) {
                fn(p->value);
            }
        }
    }
}

static void disable_classes(const char *list)
{
    ini_each_word(list, disable_class, NULL);
}

static void disable_late_functions(const char *list)
{
    ini_each_word(list, disable_late, NULL);
}

void ini_set_pool(const struct pool_conf *pool)
{
    pool_of_process = pool;
}

void ini_ban_functions(void)
{
    each_value("disable_functions", zend_disable_functions);
}

void ini_ban_late(void)
{
    each_value("disable_classes", disable_classes);
    each_value("disable_functions", disable_late_functions);
}

/* -- of a host and of a directory -- */

static void free_value(zval *value)
{
    zval_internal_ptr_dtor(value);
}

static void free_user_ini(zval *place)
{
    struct user_ini *u = Z_PTR_P(place);

    zend_hash_destroy(&u->entries);
    free(u);
}

void ini_user_cache_init(HashTable *cache)
{
    zend_hash_init(cache, 8, NULL, free_user_ini, true);
}

static void activate_host(const char *server_name)
{
    if (server_name && php_ini_has_per_host_config()) {
        size_t n = strlen(server_name);
        char *lower = zend_str_tolower_dup(server_name, n);

        php_ini_activate_per_host_config(lower, n);
        efree(lower);
    }
}

/* PHP keeps the section that a file is in ([HOST=...]) for the process: two files at once would mix. */
static pthread_mutex_t user_ini_lock = PTHREAD_MUTEX_INITIALIZER;

static void read_user_ini(const char *directory, HashTable *out)
{
    char name[MAXPATHLEN];
    struct stat st;
    volatile bool left = true;

    snprintf(name, sizeof name, "%s/%s", directory, PG(user_ini_filename));
    if (stat(name, &st) != 0) {
        return; /* most directories have none */
    }
    pthread_mutex_lock(&user_ini_lock);
    zend_try
    {
        php_parse_user_ini_file(directory, PG(user_ini_filename), out);
        left = false;
    }
    zend_end_try();
    pthread_mutex_unlock(&user_ini_lock);
    if (left) {
        zend_bailout();
    }
}

/* directory ends in '/'; root_n is without the root's. From the document root down to it; or it alone if it
 * lies elsewhere. What begins with the same letters counts as below the root (/srv/www-2 below /srv/www), and
 * a directory above the root has none, unless the root ends in '/': as in php-fpm. */
static void scan_user_ini(char *directory, size_t n, const char *root, size_t root_n, HashTable *out)
{
    bool is_above = n <= root_n, alone = strncmp(directory, root, is_above ? n : root_n) != 0;

    if (alone || is_above) {
        if (alone || root[root_n] == '/') {
            read_user_ini(directory, out);
        }
        return;
    }
    for (char *slash = strchr(directory + root_n, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        read_user_ini(directory, out);
        *slash = '/';
    }
}

static struct user_ini *user_ini_of(const char *directory, size_t n)
{
    HashTable *cache = &CGIG(user_ini);
    struct user_ini *u = zend_hash_str_find_ptr(cache, directory, n);

    if (u) {
        return u;
    }
    if (zend_hash_num_elements(cache) >= USER_INI_DIRECTORIES) {
        zend_hash_clean(cache);
    }
    u = malloc(sizeof *u);
    if (u) {
        u->expires = 0;
        zend_hash_init(&u->entries, 0, NULL, free_value, true);
        zend_hash_str_update_ptr(cache, directory, n, u);
    }
    return u;
}

static void activate_user_ini(char *directory, size_t n, const char *root)
{
    struct user_ini *u = user_ini_of(directory, n);
    size_t root_n = strlen(root);
    time_t now = (time_t)sapi_get_request_time();

    if (!u) {
        return;
    }
    if (root_n > 0 && root[root_n - 1] == '/') {
        root_n--;
    }
    if (now > u->expires) {
        zend_hash_clean(&u->entries);
        scan_user_ini(directory, n, root, root_n, &u->entries);
        u->expires = now + PG(user_ini_cache_ttl);
    }
    php_ini_activate_config(&u->entries, PHP_INI_PERDIR, PHP_INI_STAGE_HTACCESS);
}

void ini_activate(const struct request *r)
{
    const char *script = SG(request_info).path_translated, *slash = strrchr(script, '/');
    bool user_ini = PG(user_ini_filename) && *PG(user_ini_filename);

    activate_host(r->server_name);
    if (!slash || (!user_ini && !php_ini_has_per_dir_config())) {
        return;
    }
    size_t n = (size_t)(slash - script) + 1;
    char *directory = estrndup(script, n);

    php_ini_activate_per_dir_config(directory, n);
    if (user_ini && r->document_root) {
        activate_user_ini(directory, n, r->document_root);
    }
    efree(directory);
}
