/* What a request of a worker script may have changed, beside its client's own: settings, handlers,
 * environment, locale, directory, umask, stream wrappers and filters, time zone, encodings and the like. It
 * is taken once, when the boot is over, and put back after each request; static properties, objects and
 * connections are not touched.
 *
 * Where PHP has a function that tells and one that sets (mb_internal_encoding() ...), these are called; they
 * are in a table. */
#include "engine/php/worker_script.h"

#include <sys/stat.h>
#include <unistd.h>

#pragma weak ps_globals_id /* sessions may be missing in a PHP of somebody else's */
#include "ext/pcre/php_pcre.h"
#include "ext/session/php_session.h"
#include "ext/standard/basic_functions.h"
#pragma weak php_libxml_disable_entity_loader /* its header wants libxml2's; it says what was */
extern bool php_libxml_disable_entity_loader(bool disable);

#include "engine/php/env.h"
#include "engine/php/hygiene.h"
#include "engine/php/ini_kept.h"
#include "engine/php/noted.h"
#include "engine/php/paths.h"
#include "engine/php/streams_kept.h"

/* -- functions that tell and set -- */

/* restarts: mbstring forgets it between two requests, so it is set again if the boot has set it. */
static const struct {
    const char *get, *set;
    bool restarts;
} pairs[] = {
    {"mb_internal_encoding", "mb_internal_encoding", true},
    {"mb_language", "mb_language", false},
    {"mb_substitute_character", "mb_substitute_character", true},
    {"mb_http_output", "mb_http_output", true},
    {"mb_detect_order", "mb_detect_order", true},
    {"mb_regex_encoding", "mb_regex_encoding", true},
    {"mb_regex_set_options", "mb_regex_set_options", false},
    {"libxml_use_internal_errors", "libxml_use_internal_errors", false},
    {"libxml_get_external_entity_loader", "libxml_set_external_entity_loader", false},
    {"pcntl_async_signals", "pcntl_async_signals", false},
    {"spl_autoload_extensions", "spl_autoload_extensions", false},
};
#define PAIRS (sizeof pairs / sizeof *pairs)

struct handler {
    zval current;
    zend_stack earlier; /* of zval */
};

struct script_state {
    struct ini_kept *settings;
    struct handler errors, exceptions;
    int error_levels;
    zend_stack earlier_levels; /* of int */
    HashTable *environment;    /* NULL = as the process's */
    unsigned environment_version;
    struct hygiene_kept *hygiene;
    char *directory; /* NULL = unknown */
    int umask;       /* BG(umask) */
    struct streams_kept *streams;
    uint32_t tick_functions;
    zval time_zone; /* UNDEF = none was set */
    zval told[PAIRS];
    bool of_boot[PAIRS]; /* of those that restart: the boot has set it */
    bool translates;     /* each request's input may change what mbstring remembers */
    zval libxml_context; /* UNDEF = none */
    bool loader_disabled;
    zend_function *clear_libxml_errors;
    zval mysqli_report;
    zend_function *set_mysqli_report;
    zval session[sizeof((php_ps_globals *)0)->mod_user_names / sizeof(zval)];
    struct pair_functions {
        zend_function *get, *set;
    } functions[PAIRS], zone;
    zend_module_entry *date, *mbstring;
    zval *libxml; /* where libxml keeps its own; NULL = there is none */
};

/* -- calling PHP's functions -- */

static zend_function *find_function(const char *name)
{
    return zend_hash_str_find_ptr(CG(function_table), name, strlen(name));
}

static void call(zend_function *function, zval *argument, zval *result)
{
    ZVAL_UNDEF(result);
    if (function) {
        zend_call_known_function(function, NULL, NULL, result, argument ? 1 : 0, argument, NULL);
    }
    if (EG(exception)) {
        OBJ_RELEASE(EG(exception));
        EG(exception) = NULL;
    }
}

static void call_and_forget(zend_function *function, zval *argument)
{
    zval result;

    call(function, argument, &result);
    zval_ptr_dtor(&result);
}

static void set_told(const struct script_state *s, size_t i)
{
    zval argument;

    ZVAL_COPY(&argument, &s->told[i]);
    call_and_forget(s->functions[i].set, &argument);
    zval_ptr_dtor(&argument);
}

/* Words that mb_ereg_search() was given go with it. */
static void restart_mbstring(const struct script_state *s)
{
    const zend_module_entry *m = s->mbstring;

    if (m && m->request_shutdown_func && m->request_startup_func) {
        m->request_shutdown_func(m->type, m->module_number);
        m->request_startup_func(m->type, m->module_number);
    }
}

static void take_told(struct script_state *s)
{
    for (size_t i = 0; i < PAIRS; i++) {
        s->functions[i].get = find_function(pairs[i].get);
        s->functions[i].set = find_function(pairs[i].set);
        call(s->functions[i].get, NULL, &s->told[i]);
    }
    s->mbstring = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("mbstring"));
    s->translates = s->mbstring && INI_BOOL("mbstring.encoding_translation");
    restart_mbstring(s);
    for (size_t i = 0; i < PAIRS; i++) {
        zval fresh;

        if (pairs[i].restarts && s->functions[i].set) {
            call(s->functions[i].get, NULL, &fresh);
            s->of_boot[i] = !zend_is_identical(&fresh, &s->told[i]);
            zval_ptr_dtor(&fresh);
        }
    }
    for (size_t i = 0; i < PAIRS; i++) {
        if (s->of_boot[i]) {
            set_told(s, i);
        }
    }
}

static void put_back_told(const struct script_state *s)
{
    restart_mbstring(s);
    for (size_t i = 0; i < PAIRS; i++) {
        zval now;

        if (pairs[i].restarts) {
            if (s->of_boot[i]) {
                set_told(s, i);
            }
            continue;
        }
        call(s->functions[i].get, NULL, &now);
        if (s->functions[i].set && !zend_is_identical(&now, (zval *)(uintptr_t)&s->told[i])) {
            set_told(s, i);
        }
        zval_ptr_dtor(&now);
    }
}

/* -- the time zone -- */

/* What was set goes with the module's shutdown, and what was not comes from date.timezone. */
static void forget_zone(const struct script_state *s)
{
    if (s->date && s->date->request_shutdown_func) {
        s->date->request_shutdown_func(s->date->type, s->date->module_number);
    }
}

static void take_zone(struct script_state *s)
{
    zval set, unset;

    s->date = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("date"));
    s->zone.get = find_function("date_default_timezone_get");
    s->zone.set = find_function("date_default_timezone_set");
    call(s->zone.get, NULL, &set);
    forget_zone(s);
    call(s->zone.get, NULL, &unset);
    ZVAL_UNDEF(&s->time_zone);
    if (!zend_is_identical(&set, &unset)) {
        ZVAL_COPY(&s->time_zone, &set);
        call_and_forget(s->zone.set, &s->time_zone);
    }
    zval_ptr_dtor(&set);
    zval_ptr_dtor(&unset);
}

static void put_back_zone(struct script_state *s)
{
    forget_zone(s);
    if (Z_TYPE(s->time_zone) != IS_UNDEF) {
        call_and_forget(s->zone.set, &s->time_zone);
    }
}

/* -- handlers of errors and exceptions -- */

static void copy_stack(zend_stack *to, const zend_stack *from, bool of_zvals)
{
    zend_stack_init(to, from->size);
    for (int i = 0; i < from->top; i++) {
        void *element = (char *)from->elements + (size_t)i * (size_t)from->size;

        if (of_zvals) {
            Z_TRY_ADDREF_P((zval *)element);
        }
        zend_stack_push(to, element);
    }
}

static void free_stack(zend_stack *stack, bool of_zvals)
{
    for (int i = 0; of_zvals && i < stack->top; i++) {
        zval_ptr_dtor((zval *)stack->elements + i);
    }
    zend_stack_destroy(stack);
}

static void take_handler(struct handler *h, zval *current, const zend_stack *earlier)
{
    ZVAL_COPY(&h->current, current);
    copy_stack(&h->earlier, earlier, true);
}

static void put_back_handler(const struct handler *h, zval *current, zend_stack *earlier)
{
    zval old = *current;

    ZVAL_COPY(current, &h->current);
    zval_ptr_dtor(&old);
    free_stack(earlier, true);
    copy_stack(earlier, &h->earlier, true);
}

static void take_handlers(struct script_state *s)
{
    take_handler(&s->errors, &EG(user_error_handler), &EG(user_error_handlers));
    take_handler(&s->exceptions, &EG(user_exception_handler), &EG(user_exception_handlers));
    s->error_levels = EG(user_error_handler_error_reporting);
    copy_stack(&s->earlier_levels, &EG(user_error_handlers_error_reporting), false);
}

static void put_back_handlers(const struct script_state *s)
{
    put_back_handler(&s->errors, &EG(user_error_handler), &EG(user_error_handlers));
    put_back_handler(&s->exceptions, &EG(user_exception_handler), &EG(user_exception_handlers));
    EG(user_error_handler_error_reporting) = s->error_levels;
    free_stack(&EG(user_error_handlers_error_reporting), false);
    copy_stack(&EG(user_error_handlers_error_reporting), &s->earlier_levels, false);
    PG(last_error_type) = 0;
    if (PG(last_error_message)) {
        zend_string_release(PG(last_error_message));
        PG(last_error_message) = NULL;
    }
    if (PG(last_error_file)) {
        zend_string_release(PG(last_error_file));
        PG(last_error_file) = NULL;
    }
}

/* -- what mysqli makes of errors -- */

static void take_mysqli(struct script_state *s)
{
    zend_class_entry *driver = zend_hash_str_find_ptr(CG(class_table), ZEND_STRL("mysqli_driver"));
    zval object, result;

    ZVAL_UNDEF(&s->mysqli_report);
    if (driver && noted_make_driver(driver, &object)) {
        ZVAL_COPY(&s->mysqli_report,
                  zend_read_property(driver, Z_OBJ(object), ZEND_STRL("report_mode"), true, &result));
        zval_ptr_dtor(&object);
    }
    s->set_mysqli_report = find_function("mysqli_report");
}

/* PHP has no function that tells. */
static void put_back_mysqli(const struct script_state *s)
{
    if (Z_TYPE(s->mysqli_report) == IS_LONG) {
        zval argument;

        ZVAL_COPY_VALUE(&argument, &s->mysqli_report);
        call_and_forget(s->set_mysqli_report, &argument);
    }
}

/* -- the context in which libxml opens files, whether it may, and what it has to say of a document -- */

/* It is the first thing in what libxml has for each thread; its header wants libxml2's. */
static void take_libxml(struct script_state *s)
{
    const zend_module_entry *m = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("libxml"));

    s->libxml = m && m->globals_size >= sizeof(zval) ? TSRMG_BULK(*m->globals_id_ptr, zval *) : NULL;
    ZVAL_UNDEF(&s->libxml_context);
    if (s->libxml) {
        ZVAL_COPY(&s->libxml_context, s->libxml);
    }
    if (&php_libxml_disable_entity_loader) {
        s->loader_disabled = php_libxml_disable_entity_loader(false);
        php_libxml_disable_entity_loader(s->loader_disabled);
    }
    s->clear_libxml_errors = find_function("libxml_clear_errors");
}

static void put_back_libxml(const struct script_state *s)
{
    if (s->libxml) {
        zval old = *s->libxml;

        ZVAL_COPY(s->libxml, &s->libxml_context);
        zval_ptr_dtor(&old);
    }
    if (&php_libxml_disable_entity_loader) {
        php_libxml_disable_entity_loader(s->loader_disabled);
    }
    call_and_forget(s->clear_libxml_errors, NULL);
}

/* -- functions at ticks, words of strtok(), the last file that was asked for -- */

static uint32_t count_ticks(void)
{
    return BG(user_tick_functions) ? (uint32_t)zend_llist_count(BG(user_tick_functions)) : 0;
}

static void put_back_loose_ends(const struct script_state *s)
{
    while (count_ticks() > s->tick_functions) {
        zend_llist_remove_tail(BG(user_tick_functions));
    }
    if (BG(strtok_string)) {
        zend_string_release(BG(strtok_string));
        BG(strtok_string) = NULL;
    }
    BG(strtok_last) = NULL;
    PCRE_G(error_code) = 0;
    php_clear_stat_cache(false, NULL, 0);
}

/* -- what belongs to the thread -- */

static void put_back_directory(const struct script_state *s)
{
    char now[MAXPATHLEN];

    if (s->directory && paths_may_be_elsewhere() &&
        (!paths_current(now, sizeof now) || strcmp(now, s->directory) != 0)) {
        paths_change(s->directory);
    }
    if (BG(umask) != -1) {
        umask((mode_t)BG(umask));
        BG(umask) = -1;
    }
}

/* -- the session's handler, which the boot may have set -- */

#define SESSION_FUNCTIONS (sizeof((struct script_state *)0)->session / sizeof(zval))

static void take_session(struct script_state *s)
{
    for (size_t i = 0; i < SESSION_FUNCTIONS; i++) {
        ZVAL_UNDEF(&s->session[i]);
        if (&ps_globals_id) {
            ZVAL_COPY(&s->session[i], (zval *)(void *)&PS(mod_user_names) + i);
        }
    }
}

static void put_back_session(struct script_state *s)
{
    for (size_t i = 0; &ps_globals_id && i < SESSION_FUNCTIONS; i++) {
        zval *now = (zval *)(void *)&PS(mod_user_names) + i, old = *now;

        ZVAL_COPY(now, &s->session[i]);
        zval_ptr_dtor(&old);
    }
}

/* -- all -- */

struct script_state *worker_state_take(struct php_thread *t)
{
    struct script_state *s = ecalloc(1, sizeof *s);

    take_told(s);
    take_zone(s);
    s->settings = ini_keep();
    take_handlers(s);
    s->streams = streams_keep();
    take_session(s);
    take_libxml(s);
    take_mysqli(s);
    s->environment = env_copy();
    s->environment_version = env_version();
    s->hygiene = hygiene_keep(t);
    s->directory = paths_current(NULL, 0);
    s->tick_functions = count_ticks();
    BG(umask) = -1; /* what the boot has set stays to the thread's end, and a request's is seen */
    return s;
}

/* What only functions change that are noted when they are called, and settings. */
static void put_back_noted(const struct script_state *s)
{
    bool noted = ini_put_back(s->settings);

    if (noted_take() || noted || s->translates) {
        put_back_told(s);
        put_back_mysqli(s);
        noted_take(); /* these were ours */
    } else if (noted_driver()) {
        put_back_mysqli(s);
    }
}

static void put_back_environment(struct script_state *s)
{
    if (env_version() != s->environment_version) {
        env_put_back(s->environment);
        s->environment_version = env_version();
    }
}

void worker_state_put_back(struct php_thread *t, struct script_state *s)
{
    put_back_handlers(s); /* first: what follows may warn */
    put_back_noted(s);
    put_back_zone(s);
    streams_put_back(s->streams);
    put_back_session(s);
    put_back_libxml(s);
    put_back_environment(s);
    hygiene_put_back(t, s->hygiene);
    put_back_directory(s);
    put_back_loose_ends(s);
}

void worker_state_free(struct script_state *s)
{
    if (!s) {
        return;
    }
    for (size_t i = 0; i < PAIRS; i++) {
        zval_ptr_dtor(&s->told[i]);
    }
    for (size_t i = 0; i < SESSION_FUNCTIONS; i++) {
        zval_ptr_dtor(&s->session[i]);
    }
    zval_ptr_dtor(&s->libxml_context);
    zval_ptr_dtor(&s->mysqli_report);
    ini_free_kept(s->settings);
    zval_ptr_dtor(&s->errors.current);
    zval_ptr_dtor(&s->exceptions.current);
    free_stack(&s->errors.earlier, true);
    free_stack(&s->exceptions.earlier, true);
    free_stack(&s->earlier_levels, false);
    streams_free_kept(s->streams);
    zval_ptr_dtor(&s->time_zone);
    env_free_copy(s->environment);
    hygiene_free_kept(s->hygiene);
    if (s->directory) {
        efree(s->directory);
    }
    efree(s);
}
