/* php-fpm writes such a value into its ini entry for good, before the request starts: it is the entry's value
 * then, not a modification of it, so that ini_restore() returns to it and no memory of a request is involved.
 * Here it is the same, and the former value comes back after the request.
 *
 * A function that a request disables is not there for it. Its place in the thread's function table gets a
 * name that no code can say, and a handler that throws; the order of the table, which PHP relies on, stays.
 * Shared scripts of OPcache may call what was there when they were compiled without asking, so such a request
 * is compiled anew, without OPcache; with preloaded scripts, which cannot be, only the handler is replaced.
 */
#include "engine/php/ini_request.h"

#include <stdio.h>

#include "php_ini.h"
#include "zend_exceptions.h"
#include "zend_ini_scanner.h"

#include "engine/base/log.h"
#include "engine/php/ini.h"
#include "engine/php/messages.h"

struct request_setting {
    struct request_setting *next;
    zend_ini_entry *entry;
    zend_string *former;
    uint8_t former_modifiable;
    bool own_value; /* entry->value is ours */
};

struct masked_function {
    struct masked_function *next;
    zend_string *name, *hidden; /* hidden: what it is called meanwhile, NULL = it keeps its name */
    zend_function *real;
    zend_internal_function stand_in;
};

/* -- what is the process's -- */

static const char *const process_entries[] = {
    "opcache.force_restart_timeout", /* OPcache kills whoever uses its memory */
    "opcache.protect_memory",        /* all threads' memory becomes read-only between two writes of one */
    "syslog.facility",               /* openlog() is the C library's, and keeps the pointer to the name */
    "syslog.ident",
};

static ZEND_INI_MH(keep_value)
{
    (void)new_value;
    if (stage == ZEND_INI_STAGE_DEACTIVATE || stage == ZEND_INI_STAGE_SHUTDOWN) {
        return SUCCESS; /* it is put back, and never was another */
    }
    log_warning("%s acts on every request of this server process: it is a matter of php.ini and of the pool, "
                "and stays as it is",
                ZSTR_VAL(entry->name));
    return FAILURE;
}

void ini_keep_process_entries(void)
{
    for (size_t i = 0; i < sizeof process_entries / sizeof *process_entries; i++) {
        zend_ini_entry *entry =
            zend_hash_str_find_ptr(EG(ini_directives), process_entries[i], strlen(process_entries[i]));

        if (entry) {
            entry->on_modify = keep_value;
        }
    }
}

/* -- functions -- */

static bool has_preloaded_scripts(void)
{
    const char *preload = INI_STR("opcache.preload");

    return preload && *preload;
}

/* A name that begins with NUL is left out of get_defined_functions(), and a script that says it meets the
 * handler that throws. */
static zend_string *unspeakable(const zend_string *name)
{
    static const char suffix[] = " (disabled)";
    size_t n = ZSTR_LEN(name);
    zend_string *out = zend_string_alloc(n + sizeof suffix, true);

    ZSTR_VAL(out)[0] = '\0';
    memcpy(ZSTR_VAL(out) + 1, ZSTR_VAL(name), n);
    memcpy(ZSTR_VAL(out) + 1 + n, suffix, sizeof suffix);
    return out;
}

static void mask(struct php_thread *t, zval *place, bool rename)
{
    Bucket *bucket = (Bucket *)place; /* its value is its first member */
    struct masked_function *m = malloc(sizeof *m);

    if (!m) {
        return;
    }
    m->real = Z_PTR_P(place);
    m->stand_in = m->real->internal_function;
    m->stand_in.handler = zif_ini_no_function;
    m->stand_in.module = NULL; /* get_extension_funcs() goes by it */
    m->name = zend_string_copy(bucket->key);
    m->hidden = rename ? unspeakable(bucket->key) : NULL;
    m->next = t->masked;
    t->masked = m;
    Z_PTR_P(place) = &m->stand_in;
    if (m->hidden) {
        zend_hash_set_bucket_key(CG(function_table), bucket, m->hidden);
    }
}

static void disable_function(const char *word, size_t n, void *ctx)
{
    zend_string *name = zend_string_init(word, n, true), *lower = zend_string_tolower_ex(name, true);
    zval *place = zend_hash_find(CG(function_table), lower);

    if (zend_string_equals_literal(lower, "exit") || zend_string_equals_literal(lower, "die")) {
        zend_error(E_WARNING, "Cannot disable function %s()", ZSTR_VAL(name)); /* zend_disable_function() */
    } else if (place && ((zend_function *)Z_PTR_P(place))->type == ZEND_INTERNAL_FUNCTION) {
        mask(ctx, place, !has_preloaded_scripts());
    }
    zend_string_release_ex(lower, true);
    zend_string_release_ex(name, true);
}

static void unmask(struct masked_function *m)
{
    zval *place = zend_hash_find(CG(function_table), m->hidden ? m->hidden : m->name);

    if (place) {
        Z_PTR_P(place) = m->real;
        if (m->hidden) {
            zend_hash_set_bucket_key(CG(function_table), (Bucket *)place, m->name);
        }
    }
    if (m->hidden) {
        zend_string_release_ex(m->hidden, true);
    }
    zend_string_release_ex(m->name, true);
    free(m);
}

/* -- values -- */

static zend_result tell(zend_ini_entry *entry, zend_string *value, int stage)
{
    return entry->on_modify
               ? entry->on_modify(entry, value, entry->mh_arg1, entry->mh_arg2, entry->mh_arg3, stage)
               : SUCCESS;
}

static struct request_setting *remember(struct php_thread *t, zend_ini_entry *entry)
{
    struct request_setting *s = t->settings;

    while (s && s->entry != entry) {
        s = s->next;
    }
    if (s) {
        return s;
    }
    s = malloc(sizeof *s);
    if (s) {
        *s = (struct request_setting){t->settings, entry, entry->value, entry->modifiable, false};
        t->settings = s;
    }
    return s;
}

/* Functions that hand out an entry's value without counting it (mb_get_info()) would free it while it is in
 * use, and a worker of php-fpm dies of that. So it has more references than a request can lose. */
#define SPARE_REFERENCES (1u << 30)

static void keep_alive(zend_string *value)
{
    GC_SET_REFCOUNT(value, GC_REFCOUNT(value) + SPARE_REFERENCES);
}

static void release(zend_string *value)
{
    uint32_t count = GC_REFCOUNT(value);

    GC_SET_REFCOUNT(value, count > SPARE_REFERENCES ? count - SPARE_REFERENCES : 1);
    zend_string_release_ex(value, true);
}

/* A value that PHP does not take is php-fpm's user's, too, silently. */
static void change(struct php_thread *t, zend_ini_entry *entry, const char *value, bool admin)
{
    struct request_setting *s = remember(t, entry);
    zend_string *text = zend_string_init(value, strlen(value), true);

    if (!s || tell(entry, text, ZEND_INI_STAGE_ACTIVATE) != SUCCESS) {
        zend_string_release_ex(text, true);
        return;
    }
    if (s->own_value) {
        release(entry->value);
    }
    keep_alive(text);
    entry->value = text;
    s->own_value = true;
    if (admin) {
        entry->modifiable = ZEND_INI_SYSTEM;
    }
}

/* A value that is not to be empty was empty, and is not taken; as at the start, there is none. */
static zend_result tell_former(const struct request_setting *s)
{
    zend_result result = tell(s->entry, s->former, ZEND_INI_STAGE_DEACTIVATE);

    return result != SUCCESS && s->entry->on_modify == OnUpdateStringUnempty
               ? tell(s->entry, NULL, ZEND_INI_STAGE_DEACTIVATE)
               : result;
}

static void put_back(struct request_setting *s)
{
    zend_string *own = s->own_value ? s->entry->value : NULL;
    volatile bool taken = false;

    messages_hush(true);
    zend_first_try
    {
        taken = tell_former(s) == SUCCESS;
    }
    zend_end_try();
    messages_hush(false);
    s->entry->value = s->former;
    s->entry->modifiable = s->former_modifiable;
    if (own && taken) { /* else something may still point to it */
        release(own);
    }
    free(s);
}

/* OPcache's own switch for the rest of a request; what ini_get() says of it stays. */
static void compile_anew(struct php_thread *t)
{
    zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("opcache.enable"));

    if (entry && !has_preloaded_scripts() && remember(t, entry)) {
        tell(entry, ZSTR_CHAR('0'), ZEND_INI_STAGE_ACTIVATE);
    }
}

/* Its functions are compiled and linked already, and what it changed itself is a modification: so is this,
 * and the state that its boot left is put back over it (worker_state.c). */
static bool set_in_script(zend_ini_entry *entry, const char *value, bool admin)
{
    if (strcmp(ZSTR_VAL(entry->name), "disable_functions") == 0) {
        log_warning("disable_functions of a request has no effect in a worker script");
        return true;
    }
    zend_string *text = zend_string_init(value, strlen(value), false);

    zend_alter_ini_entry_ex(entry->name, text, PHP_INI_SYSTEM, ZEND_INI_STAGE_ACTIVATE, true);
    entry->modifiable = admin ? ZEND_INI_SYSTEM : entry->orig_modifiable;
    zend_string_release(text);
    return true;
}

static bool set_for_request(struct php_thread *t, const char *name, const char *value, bool admin)
{
    if (strcmp(name, "extension") == 0 || strcmp(name, "disable_classes") == 0) {
        return false; /* the process's, not a request's */
    }
    zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), name, strlen(name));

    if (!entry) {
        return false;
    }
    if (t->script) {
        return set_in_script(entry, value, admin);
    }
    change(t, entry, value, admin);
    if (strcmp(name, "disable_functions") == 0) {
        const struct masked_function *before = t->masked;

        ini_each_word(value, disable_function, t);
        if (t->masked != before) {
            compile_anew(t);
        }
    }
    return true;
}

/* -- the parameters -- */

#define REFUSED(...) log_error("Passing INI directive through FastCGI: " __VA_ARGS__)

static void on_entry(zval *name, zval *value, zval *index, int kind, void *admin)
{
    (void)index;
    if (!name) {
        return;
    }
    if (kind != ZEND_INI_PARSER_ENTRY) {
        REFUSED("only classic entries are allowed");
    } else if (Z_TYPE_P(name) != IS_STRING || Z_STRLEN_P(name) == 0) {
        REFUSED("empty key");
    } else if (!value || Z_TYPE_P(value) != IS_STRING) {
        REFUSED("empty value for key '%s'", Z_STRVAL_P(name));
    } else if (!set_for_request(php_thread, Z_STRVAL_P(name), Z_STRVAL_P(value), *(bool *)admin)) {
        REFUSED("unable to set '%s'", Z_STRVAL_P(name));
    }
}

static void apply_text(const char *text, bool admin)
{
    size_t n = strlen(text);
    char *line_ended = emalloc(n + 2 + ZEND_MMAP_AHEAD);

    memcpy(line_ended, text, n);
    memset(line_ended + n, 0, 2 + ZEND_MMAP_AHEAD);
    line_ended[n] = '\n';
    zend_parse_ini_string(line_ended, true, ZEND_INI_SCANNER_NORMAL, on_entry, &admin);
    efree(line_ended);
}

bool ini_apply_request(struct php_thread *t, const struct request *r)
{
    volatile bool applied = false;

    PG(modules_activated) =
        t->script != NULL; /* as in a process that has served no request: handlers believe it */
    EG(flags) &= (uint8_t)~EG_FLAGS_IN_SHUTDOWN; /* else the last request's end is what errors are about */
    zend_try /* not the first one in a worker script, whose request needs the one around it again */
    {
        if (r->php_value) {
            apply_text(r->php_value, false);
        }
        if (r->php_admin_value) {
            apply_text(r->php_admin_value, true);
        }
        applied = true;
    }
    zend_end_try();
    fflush(stdout); /* errors that are displayed go there: the request has no output yet */
    return applied;
}

void ini_request_end(struct php_thread *t)
{
    while (t->settings) {
        struct request_setting *s = t->settings;

        t->settings = s->next;
        put_back(s);
    }
    while (t->masked) {
        struct masked_function *m = t->masked;

        t->masked = m->next;
        unmask(m);
    }
}
