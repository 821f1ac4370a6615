/* $_SERVER, $_ENV and getenv() from the request's parameters and the pool's environment.
 *
 * The order is php-fpm's: environment, parameters (the last of a name wins), PHP_SELF, ours; PHP adds
 * PHP_AUTH_* and REQUEST_TIME itself. HTTP_PROXY is left out everywhere: a client could name a proxy for
 * scripts that trust that variable. Most names are well known (names.h), so the table is made without a look
 * for what cannot be in it. */
#include "engine/php/vars.h"

#include "php_variables.h"

#include "engine/php/env.h"
#include "engine/php/late_filter.h"
#include "engine/php/names.h"
#include "engine/php/vars_own.h"
#include "engine/php/worker_script.h"

/* -- one table -- */

/* A table that is being filled. has: those well-known names that are in it, or may be: only those are looked
 * for. */
struct filling {
    zval *array;
    struct names_set has;
};

/* Those that the pool's environment has; constant after vars_install. */
static struct names_set of_environment;

/* What was in the table before is not known. */
static struct filling fill_anything(zval *array)
{
    return (struct filling){array, {{UINT64_MAX, UINT64_MAX}}};
}

/* consumes value */
static void set_known(struct filling *f, int i, zval *value)
{
    HashTable *out = Z_ARRVAL_P(f->array);
    uint64_t *bits = &f->has.bits[i / 64], bit = 1ULL << (i % 64);

    if ((*bits & bit) || (HT_FLAGS(out) & (HASH_FLAG_PACKED | HASH_FLAG_UNINITIALIZED)) ||
        out->nNumUsed >= out->nTableSize) {
        zend_hash_update(out, names_string(i), value);
    } else {
        _zend_hash_append_ex(out, names_string(i), value, true);
    }
    *bits |= bit;
}

static void set_text(struct filling *f, enum name name, const char *text, size_t n)
{
    zval value;

    names_value((int)name, text, n, &value);
    set_known(f, (int)name, &value);
}

/* PHP changes blanks and dots in names, makes arrays of brackets and numbers of digits: those take its own
 * way. */
static bool is_plain_name(const char *name, size_t n)
{
    if (n == 0 || (name[0] >= '0' && name[0] <= '9')) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char c = name[i];

        if (!((c >= 'A' && c <= 'Z') || c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return true;
}

static void set_unknown(struct filling *f, const char *name, size_t n, const char *value, size_t value_n)
{
    zend_string *key;
    zval copy;

    if (!is_plain_name(name, n)) {
        php_register_variable_safe(name, value, value_n, f->array);
        *f = fill_anything(f->array); /* it may have become one of ours */
        return;
    }
    key = zend_string_init(name, n, 0);
    ZVAL_STRINGL_FAST(&copy, value, value_n);
    zend_hash_update(Z_ARRVAL_P(f->array), key, &copy);
    zend_string_release(key);
}

/* guess: as for names_find() */
static void set_variable(struct filling *f, const struct param *p, uint8_t *guess)
{
    int known = names_find(p->name, p->name_len, guess);
    zval value;

    if (known < 0) {
        set_unknown(f, p->name, p->name_len, p->value, p->value_len);
    } else {
        names_value(known, p->value, p->value_len, &value);
        set_known(f, known, &value);
    }
}

/* Through the input filter (ext/filter registers the variable itself, and keeps a raw copy). */
static void set_filtered(struct filling *f, int kind, const struct param *p, uint8_t *guess)
{
    char *copy = estrndup(p->value, p->value_len);
    size_t copy_n = p->value_len;

    *f = fill_anything(f->array);
    if (sapi_module.input_filter(kind, p->name, &copy, p->value_len, &copy_n)) {
        set_variable(f, &(struct param){p->name, copy, p->name_len, (uint32_t)copy_n}, guess);
    }
    efree(copy);
}

/* kind: PARSE_SERVER or PARSE_ENV filters, -1 does not. */
static void set_one(struct filling *f, int kind, const struct param *p, uint8_t *guess)
{
    if (kind < 0 || sapi_module.input_filter == php_default_input_filter) {
        set_variable(f, p, guess);
    } else {
        set_filtered(f, kind, p, guess);
    }
}

static void set_parameters(struct filling *f, const struct request *r, int kind)
{
    uint8_t *guesses = php_thread->guesses, none = 0;

    for (size_t i = 0; i < r->param_count; i++) {
        if (!vars_is_hidden(&r->params[i])) {
            set_one(f, kind, &r->params[i], i < sizeof php_thread->guesses ? &guesses[i] : &none);
        }
    }
}

static void set_php_self(struct filling *f, const struct request *r, int kind)
{
    struct vars_self self;
    uint8_t guess = 0;

    vars_self(r, &self);
    set_one(f, kind, &self.param, &guess);
    vars_self_free(&self);
}

static void set_ours(struct filling *f, struct request *r)
{
    struct vars_own own;

    vars_own(r, &own);
    for (size_t i = 0; i < own.count; i++) {
        set_text(f, own.list[i].name, own.list[i].value, own.list[i].n);
    }
}

/* Of a worker script while it boots, where a request has those of its client. */
static void set_script(zval *array, const struct worker_script *script)
{
    const char *name = script->settings->worker_script, *slash = strrchr(name, '/');

    add_assoc_string(array, "SCRIPT_FILENAME", name);
    add_assoc_string(array, "SCRIPT_NAME", slash ? slash : name);
    add_assoc_string(array, "PHP_SELF", slash ? slash : name);
    add_assoc_string(array, "DOCUMENT_ROOT", script->root);
}

/* How many rows it has before the parameters. */
static uint32_t make_server(struct php_thread *t, int kind, zval *array)
{
    zend_hash_extend(Z_ARRVAL_P(array), (uint32_t)t->request->param_count + 16, 0);
    env_import(Z_ARRVAL_P(array));
    uint32_t rows = zend_hash_num_elements(Z_ARRVAL_P(array));

    /* putenv() may have added any. */
    struct filling f = t->environment ? fill_anything(array) : (struct filling){array, of_environment};

    set_parameters(&f, t->request, kind);
    set_php_self(&f, t->request, kind);
    set_ours(&f, t->request);
    return rows;
}

void vars_register_server(zval *array)
{
    struct php_thread *t = php_thread;

    if (!t || !t->request) {
        env_import(Z_ARRVAL_P(array));
        if (t && t->script) {
            set_script(array, t->script);
        }
        return;
    }
    t->server_unfiltered = late_filter_applies();
    int kind = t->server_unfiltered ? -1 : PARSE_SERVER;
    bool keeps = t->script && (kind < 0 || sapi_module.input_filter == php_default_input_filter);

    if (!keeps || !vars_kept_use(&t->script->server, t->request, array)) {
        uint32_t first = make_server(t, kind, array);

        if (keeps) {
            vars_kept_note(&t->script->server, t->request, array, first);
        }
    }
}

/* What is set already is set to the same again. */
static void filter_server(struct php_thread *t)
{
    zval *array = &PG(http_globals)[TRACK_VARS_SERVER];

    if (Z_TYPE_P(array) == IS_ARRAY) {
        struct filling f = fill_anything(array);

        if (t->script) {
            vars_kept_drop(&t->script->server);
        }
        set_parameters(&f, t->request, PARSE_SERVER);
        set_php_self(&f, t->request, PARSE_SERVER);
    }
}

/* $_ENV (filtered) and getenv() without arguments (as it came). Where $_SERVER is made already, $_ENV is its
 * copy, as in php-fpm. */
static void import_env(zval *array)
{
    zval *server = &PG(http_globals)[TRACK_VARS_SERVER];

    if (Z_TYPE_P(server) == IS_ARRAY && Z_ARR_P(server) != Z_ARR_P(array) &&
        zend_hash_num_elements(Z_ARRVAL_P(server)) > 0) {
        zend_array_destroy(Z_ARR_P(array));
        ZVAL_ARR(array, zend_array_dup(Z_ARR_P(server)));
        return;
    }
    env_import(Z_ARRVAL_P(array));
    if (php_thread && php_thread->request) {
        struct filling f = fill_anything(array);

        set_parameters(&f, php_thread->request, PARSE_ENV);
    }
}

static void load_env(zval *array)
{
    env_import(Z_ARRVAL_P(array));
    if (php_thread && php_thread->request) {
        struct filling f = fill_anything(array);

        set_parameters(&f, php_thread->request, -1);
    }
}

void vars_install(void)
{
    for (int i = 0; i < NAMES; i++) {
        if (env_has(ZSTR_VAL(names_string(i)), ZSTR_LEN(names_string(i)))) {
            of_environment.bits[i / 64] |= 1ULL << (i % 64);
        }
    }
    php_import_environment_variables = import_env;
    php_load_environment_variables = load_env;
    late_filter_install(filter_server);
}
