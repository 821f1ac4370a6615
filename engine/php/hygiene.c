/* What PHP functions may do to the process, which many threads share.
 *
 * setlocale() becomes the thread's (uselocale) and ends with the request; umask and the working directory of
 * C become the thread's by unshare(CLONE_FS); signals are signals.c's. What is
 * the process's own by nature (identity, limits, fork, signal handlers) is refused with a warning that names
 * the setting that allows it. Installed on the main thread before others exist; the rest runs on workers. */
#include "engine/php/hygiene.h"

#include <dlfcn.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <malloc.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ext/standard/basic_functions.h"
#include "zend_operators.h"
#include "zend_smart_str.h"

#include "engine/base/log.h"
#include "engine/php/env.h"
#include "engine/php/override.h"
#include "engine/php/paths.h"
#include "engine/php/signals.h"
#include "engine/php/system_messages.h"
#include "engine/php/translations.h"

/* -- switches of C libraries -- */

#define SQLITE_MEMORY_STATUS 9 /* SQLITE_CONFIG_MEMSTATUS of sqlite3.h, part of its stable interface */
/* One for each thread. A script that damages the heap ends in abort() with its arena's lock held: whoever
 * shares the arena would wait for ever. It costs 1 % of memory with 64 workers. */
#define ARENAS_MAX 65536

void hygiene_before_php(void)
{
    int (*sqlite_config)(int, ...) = (int (*)(int, ...))dlsym(RTLD_DEFAULT, "sqlite3_config");

    if (sqlite_config) {
        sqlite_config(SQLITE_MEMORY_STATUS, 0); /* else every allocation of every thread takes one lock */
    }
    mallopt(M_ARENA_MAX, ARENAS_MAX);
}

/* -- functions that act on the whole process -- */

static const char *const process_calls[] = {
    "pcntl_fork",
    "pcntl_rfork",
    "pcntl_forkx",
    "pcntl_exec",
    "pcntl_signal",
    "pcntl_alarm",
    "pcntl_setpriority",
    "pcntl_unshare",
    "pcntl_setns",
    "pcntl_setcpuaffinity",
    "pcntl_wait",
    "pcntl_sigwaitinfo",
    "pcntl_sigtimedwait",
    "posix_setuid",
    "posix_seteuid",
    "posix_setgid",
    "posix_setegid",
    "posix_initgroups",
    "posix_setsid",
    "posix_setpgid",
    "posix_setrlimit",
    "proc_nice",
    "chroot",
};

static PHP_FUNCTION(refused)
{
    const char *name = ZSTR_VAL(EX(func)->common.function_name);

    php_error_docref(NULL, E_WARNING,
                     "would act on every request that this server process runs, so it is refused; the pool "
                     "setting security.allow_process_calls = %s allows it",
                     name);
    if (strcmp(name, "pcntl_fork") == 0) {
        RETURN_LONG(-1);
    }
    RETURN_FALSE;
}

/* Whose children? Those of all requests, and the server's own. */
static zif_handler waitpid_of_php, waitid_of_php;

/* What PHP makes a number of, null, "0" and 0.5 as well. Of others it makes a TypeError. */
static bool is_scalar(const zval *argument)
{
    return Z_TYPE_P(argument) <= IS_STRING;
}

static PHP_FUNCTION(wait_for_one)
{
    zval *pid = ZEND_NUM_ARGS() > 0 ? ZEND_CALL_ARG(execute_data, 1) : NULL;

    if (pid && is_scalar(pid) && zval_get_long(pid) <= 0) {
        zif_refused(INTERNAL_FUNCTION_PARAM_PASSTHRU);
        RETURN_LONG(-1);
    }
    waitpid_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static PHP_FUNCTION(wait_for_id)
{
    zval *type = ZEND_NUM_ARGS() > 0 ? ZEND_CALL_ARG(execute_data, 1) : NULL;

    if (!type || (is_scalar(type) && (zval_get_long(type) == P_ALL || zval_get_long(type) == P_PGID))) {
        zif_refused(INTERNAL_FUNCTION_PARAM_PASSTHRU);
        return;
    }
    waitid_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static bool is_allowed(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = list; at && *at;) {
        size_t word = strcspn(at, " ,");

        if ((word == n && strncasecmp(at, name, n) == 0) || (word == 3 && strncmp(at, "all", 3) == 0)) {
            return true;
        }
        at += word + strspn(at + word, " ,");
    }
    return false;
}

/* -- setlocale() -- */

static zif_handler setlocale_of_php;

static const struct {
    int category, mask;
    const char *name;
} categories[] = {
    {LC_CTYPE, LC_CTYPE_MASK, "LC_CTYPE"},
    {LC_NUMERIC, LC_NUMERIC_MASK, "LC_NUMERIC"},
    {LC_TIME, LC_TIME_MASK, "LC_TIME"},
    {LC_COLLATE, LC_COLLATE_MASK, "LC_COLLATE"},
    {LC_MONETARY, LC_MONETARY_MASK, "LC_MONETARY"},
    {LC_MESSAGES, LC_MESSAGES_MASK, "LC_MESSAGES"},
#ifdef LC_PAPER_MASK /* glibc's: a list of all categories must have each when it is set again */
    {LC_PAPER, LC_PAPER_MASK, "LC_PAPER"},
    {LC_NAME, LC_NAME_MASK, "LC_NAME"},
    {LC_ADDRESS, LC_ADDRESS_MASK, "LC_ADDRESS"},
    {LC_TELEPHONE, LC_TELEPHONE_MASK, "LC_TELEPHONE"},
    {LC_MEASUREMENT, LC_MEASUREMENT_MASK, "LC_MEASUREMENT"},
    {LC_IDENTIFICATION, LC_IDENTIFICATION_MASK, "LC_IDENTIFICATION"},
#endif
};
#define CATEGORIES (sizeof categories / sizeof *categories)

static int mask_of(zend_long category)
{
    for (size_t i = 0; i < CATEGORIES; i++) {
        if (categories[i].category == category) {
            return categories[i].mask;
        }
    }
    return category == LC_ALL ? LC_ALL_MASK : 0;
}

static const char *name_in(int category)
{
    locale_t own = php_thread->locale;

    return own ? nl_langinfo_l(NL_LOCALE_NAME(category), own) : setlocale(category, NULL);
}

/* As setlocale(category, NULL) would say it. */
static zend_string *current_name(zend_long category)
{
    const char *first = name_in(LC_CTYPE);
    smart_str all = {0};
    bool same = true;

    if (category != LC_ALL) {
        first = name_in((int)category);
        return zend_string_init(first, strlen(first), 0);
    }
    for (size_t i = 0; i < CATEGORIES; i++) {
        const char *name = name_in(categories[i].category);

        same = same && strcmp(name, first) == 0;
        smart_str_append_printf(&all, "%s%s=%s", i ? ";" : "", categories[i].name, name);
    }
    if (same) {
        smart_str_free(&all);
        return zend_string_init(first, strlen(first), 0);
    }
    smart_str_0(&all);
    return all.s;
}

/* PCRE makes its tables of letters for each locale that it is told of; without one it has those of "C". */
static void tell_pcre(void)
{
    const char *name = php_thread->locale ? name_in(LC_CTYPE) : "C";

    if (BG(ctype_string)) {
        zend_string_release(BG(ctype_string));
    }
    BG(ctype_string) = strcmp(name, "C") == 0 ? NULL : zend_string_init(name, strlen(name), 0);
}

/* "" means what the environment says: the request's, which libc does not know. */
static const char *from_environment(const char *category)
{
    const char *const names[] = {"LC_ALL", category, "LANG"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = env_find(names[i]);

        if (value && *value) {
            return value;
        }
    }
    return "C";
}

/* A locale made of `base`, which is used up; 0 = there is none of this name. */
static locale_t change(int mask, const char *name, locale_t base)
{
    locale_t made = base;

    if (*name || !php_thread->environment) {
        made = newlocale(mask, name, base);
    }
    for (size_t i = 0; !*name && php_thread->environment && made && i < CATEGORIES; i++) {
        if (mask & categories[i].mask) {
            base = made;
            made = newlocale(categories[i].mask, from_environment(categories[i].name), base);
        }
    }
    if (!made) {
        freelocale(base);
    }
    return made;
}

static _Thread_local unsigned locale_changes; /* by setlocale() */

static bool use_locale(zend_long category, const char *name)
{
    if (category != LC_ALL && strchr(name, ';')) {
        return false; /* a list of all categories; newlocale() would take one out of it */
    }
    locale_t old = php_thread->locale;
    locale_t base = old ? duplocale(old) : duplocale(LC_GLOBAL_LOCALE);
    locale_t made = base ? change(mask_of(category), name, base) : (locale_t)0;

    if (!made) {
        return false;
    }
    uselocale(made);
    if (old) {
        freelocale(old);
    }
    php_thread->locale = made;
    locale_changes++;
    zend_update_current_locale();
    if (mask_of(category) & LC_CTYPE_MASK) {
        tell_pcre();
    }
    return true;
}

/* One candidate; the name of what is set then, or NULL. "0" only asks. */
static zend_string *try_locale(zend_long category, zval *candidate)
{
    zend_string *name = zval_get_string(candidate), *result = NULL;
    bool asks = zend_string_equals_literal(name, "0");

    if (ZSTR_LEN(name) >= 255) {
        php_error_docref(NULL, E_WARNING, "Specified locale name is too long");
    } else if (asks || use_locale(category, ZSTR_VAL(name))) {
        result = current_name(category);
    }
    zend_string_release(name);
    return result;
}

static zend_string *try_each(zend_long category, zval *candidate)
{
    zend_string *result = NULL;
    zval *element;

    if (Z_TYPE_P(candidate) != IS_ARRAY) {
        return try_locale(category, candidate);
    }
    ZEND_HASH_FOREACH_VAL(Z_ARRVAL_P(candidate), element)
    {
        result = try_locale(category, element);
        if (result || EG(exception)) {
            break;
        }
    }
    ZEND_HASH_FOREACH_END();
    return result;
}

static PHP_FUNCTION(setlocale_of_thread)
{
    zend_long category;
    zval *candidates = NULL;
    uint32_t count = 0;

    if (!php_thread) {
        setlocale_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
        return;
    }
    ZEND_PARSE_PARAMETERS_START(2, -1)
    Z_PARAM_LONG(category)
    Z_PARAM_VARIADIC('+', candidates, count)
    ZEND_PARSE_PARAMETERS_END();
    if (mask_of(category) == 0) {
        RETURN_FALSE;
    }
    for (uint32_t i = 0; i < count; i++) {
        zend_string *result = try_each(category, &candidates[i]);

        if (result) {
            RETURN_STR(result);
        }
        if (EG(exception)) {
            RETURN_THROWS();
        }
    }
    RETURN_FALSE;
}

static void restore_locale(struct php_thread *t)
{
    if (t->locale) {
        uselocale(LC_GLOBAL_LOCALE);
        freelocale(t->locale);
        t->locale = NULL;
        zend_update_current_locale();
        tell_pcre();
    }
}

void hygiene_begin_character(mbstate_t *state)
{
    if (php_thread && state == &BG(mblen_state)) {
        memset(state, 0, sizeof *state);
    }
}

/* -- umask -- */

static zif_handler umask_of_php;
static _Thread_local bool own_umask; /* this thread does not share it */

static PHP_FUNCTION(umask_of_thread)
{
    if (ZEND_NUM_ARGS() > 0 && Z_TYPE_P(ZEND_CALL_ARG(execute_data, 1)) != IS_NULL && !own_umask) {
        php_error_docref(NULL, E_WARNING,
                         "would act on every request that this server process runs (unshare() is not "
                         "permitted here), so it is ignored");
        RETURN_LONG(022);
    }
    umask_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

/* -- extensions -- */

static const struct {
    const char *name, *why;
} doubtful[] = {
    {"imap", "its c-client library is not thread-safe"},
    {"snmp", "the net-snmp library keeps process-wide state"},
    {"mcrypt", "old releases of libmcrypt are not thread-safe"},
    {"interbase", "it keeps connections in process-wide state"},
    {"raphf", "it crashes when a thread ends"},
};

static void warn_of_extensions(void)
{
    for (size_t i = 0; i < sizeof doubtful / sizeof *doubtful; i++) {
        if (zend_hash_str_exists(&module_registry, doubtful[i].name, strlen(doubtful[i].name))) {
            log_warning("the extension %s is loaded, but %s: run it in a pool of one worker",
                        doubtful[i].name, doubtful[i].why);
        }
    }
    if (zend_hash_str_exists(&module_registry, ZEND_STRL("imagick"))) {
        setenv("MAGICK_THREAD_LIMIT", "1", 0); /* its own threads and ours do not mix */
    }
}

/* -- life -- */

void hygiene_install(const struct pool_conf *pool)
{
    const char *allowed = pool ? pool->s.allow_process_calls : NULL;

    for (size_t i = 0; i < sizeof process_calls / sizeof *process_calls; i++) {
        if (!is_allowed(allowed, process_calls[i])) {
            override_function(process_calls[i], zif_refused, NULL);
        }
    }
    if (!is_allowed(allowed, "pcntl_waitpid")) {
        override_function("pcntl_waitpid", zif_wait_for_one, &waitpid_of_php);
    }
    if (!is_allowed(allowed, "pcntl_waitid")) {
        override_function("pcntl_waitid", zif_wait_for_id, &waitid_of_php);
    }
    override_function("setlocale", zif_setlocale_of_thread, &setlocale_of_php);
    override_function("umask", zif_umask_of_thread, &umask_of_php);
    signals_start();
    warn_of_extensions();
}

void hygiene_thread_start(struct php_thread *t)
{
    own_umask = unshare(CLONE_FS) == 0;
    paths_thread_start(own_umask);
    signals_thread_start();
    pthread_sigmask(SIG_SETMASK, NULL, &t->signals);
}

void hygiene_request_end(void)
{
    struct php_thread *t = php_thread;

    if (!t) {
        return;
    }
    restore_locale(t);
    system_messages_request_end();
    translations_request_end();
    signals_request_end();
}

/* -- between the requests of a worker script -- */

struct hygiene_kept {
    locale_t locale; /* 0 = the process's */
    unsigned changes;
    struct system_messages_name messages;
};

struct hygiene_kept *hygiene_keep(const struct php_thread *t)
{
    struct hygiene_kept *kept = calloc(1, sizeof *kept);

    if (kept) {
        kept->locale = t->locale ? duplocale(t->locale) : (locale_t)0;
        kept->changes = locale_changes;
        system_messages_keep(&kept->messages);
        translations_keep();
    }
    return kept;
}

void hygiene_put_back(struct php_thread *t, const struct hygiene_kept *kept)
{
    if (!kept) {
        return;
    }
    if (locale_changes != kept->changes) {
        restore_locale(t);
        if (kept->locale) {
            t->locale = duplocale(kept->locale);
            uselocale(t->locale);
            zend_update_current_locale();
            tell_pcre();
        }
        locale_changes = kept->changes;
    }
    system_messages_put_back(&kept->messages);
    translations_put_back();
    signals_request_end();
}

void hygiene_free_kept(struct hygiene_kept *kept)
{
    if (kept && kept->locale) {
        freelocale(kept->locale);
    }
    free(kept);
}
