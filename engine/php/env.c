/* The environment, virtual.
 *
 * env_start copies the process's environment (which is the pool's by then) into permanent strings; nobody
 * changes it afterwards, so all threads read it without a lock. putenv() writes into a table of the request,
 * in PHP's request memory. C libraries that call getenv() on a worker's thread see the same (env_find), and
 * programs that a request starts get both as their environment (env_vector). */
#include "engine/php/env.h"

#include <unistd.h>

#include "php_variables.h"

#include "engine/base/str.h"
#include "engine/php/override.h"

struct variable {
    zend_string *name, *value; /* permanent */
};

/* Constant after env_start. */
static struct variable *snapshot;
static size_t snapshot_count;
static char **of_process; /* environ */
static char **lent;       /* the same without TZ, and with room for one that is last */
static size_t lent_count;

static _Thread_local unsigned version; /* of the request's variables */

extern char **environ;

/* -- reading -- */

static const zval *changed(const char *name, size_t n)
{
    const struct php_thread *t = php_thread;

    return t && t->environment ? zend_hash_str_find(t->environment, name, n) : NULL;
}

/* PHP leaves other names out of its arrays (valid_environment_name()); getenv() with the name finds them. */
static bool is_for_arrays(const zend_string *name)
{
    return strcspn(ZSTR_VAL(name), " .[") == ZSTR_LEN(name);
}

void env_import(HashTable *out)
{
    const struct php_thread *t = php_thread;
    zend_string *name;
    zval *value, copy;

    for (size_t i = 0; i < snapshot_count; i++) {
        if (is_for_arrays(snapshot[i].name)) {
            ZVAL_INTERNED_STR(&copy, snapshot[i].value);
            zend_symtable_update(out, snapshot[i].name, &copy);
        }
    }
    if (!t || !t->environment) {
        return;
    }
    ZEND_HASH_FOREACH_STR_KEY_VAL(t->environment, name, value)
    {
        if (Z_TYPE_P(value) == IS_NULL) {
            zend_symtable_del(out, name);
        } else if (is_for_arrays(name)) {
            Z_ADDREF_P(value);
            zend_symtable_update(out, name, value);
        }
    }
    ZEND_HASH_FOREACH_END();
}

static zend_string *find_in_snapshot(const char *name, size_t n)
{
    for (size_t i = 0; i < snapshot_count; i++) {
        if (ZSTR_LEN(snapshot[i].name) == n && memcmp(ZSTR_VAL(snapshot[i].name), name, n) == 0) {
            return snapshot[i].value;
        }
    }
    return NULL;
}

bool env_has(const char *name, size_t n)
{
    return find_in_snapshot(name, n) != NULL;
}

static PHP_FUNCTION(getenv_virtual)
{
    char *name = NULL;
    size_t n = 0;
    bool local_only = false;

    ZEND_PARSE_PARAMETERS_START(0, 2)
    Z_PARAM_OPTIONAL
    Z_PARAM_STRING_OR_NULL(name, n)
    Z_PARAM_BOOL(local_only)
    ZEND_PARSE_PARAMETERS_END();

    if (!name) {
        array_init(return_value);
        php_load_environment_variables(return_value);
        return;
    }
    char *parameter = local_only ? NULL : sapi_getenv(name, n);

    if (parameter) {
        RETVAL_STRING(parameter);
        efree(parameter);
        return;
    }
    const zval *own = changed(name, n);

    if (own) {
        if (Z_TYPE_P(own) == IS_NULL) {
            RETURN_FALSE;
        }
        RETURN_STR_COPY(Z_STR_P(own));
    }
    zend_string *value = find_in_snapshot(name, n);

    if (!value) {
        RETURN_FALSE;
    }
    RETURN_INTERNED_STR(value);
}

/* -- writing -- */

/* value: consumed. */
static void change(const char *name, size_t n, zval *value)
{
    struct php_thread *t = php_thread;

    if (!t->environment) {
        ALLOC_HASHTABLE(t->environment);
        zend_hash_init(t->environment, 8, NULL, ZVAL_PTR_DTOR, 0);
    }
    zend_hash_str_update(t->environment, name, n, value);
    version++;
}

void env_set(const char *name, const char *text)
{
    zval value;

    ZVAL_STRING(&value, text);
    change(name, strlen(name), &value);
}

static PHP_FUNCTION(putenv_virtual)
{
    struct php_thread *t = php_thread;
    char *setting;
    size_t n;
    zval value;

    ZEND_PARSE_PARAMETERS_START(1, 1)
    Z_PARAM_STRING(setting, n)
    ZEND_PARSE_PARAMETERS_END();

    if (n == 0 || setting[0] == '=') {
        zend_argument_value_error(1, "must have a valid syntax");
        RETURN_THROWS();
    }
    if (!t) {
        RETURN_FALSE;
    }
    const char *equals = memchr(setting, '=', n);

    if (equals) {
        ZVAL_STRINGL(&value, equals + 1, n - (size_t)(equals + 1 - setting));
        n = (size_t)(equals - setting);
    } else {
        ZVAL_NULL(&value);
    }
    change(setting, n, &value);
    RETURN_TRUE;
}

void env_request_end(void)
{
    struct php_thread *t = php_thread;

    if (t && t->environment) {
        zend_hash_destroy(t->environment);
        FREE_HASHTABLE(t->environment);
        t->environment = NULL;
        version++;
    }
}

unsigned env_version(void)
{
    return version;
}

HashTable *env_copy(void)
{
    return php_thread->environment ? zend_array_dup(php_thread->environment) : NULL;
}

void env_put_back(HashTable *copy)
{
    env_request_end();
    php_thread->environment = copy ? zend_array_dup(copy) : NULL;
}

void env_free_copy(HashTable *copy)
{
    if (copy) {
        zend_array_destroy(copy);
    }
}

/* -- what C libraries and programs see -- */

static char **process_environment(void)
{
    return of_process ? of_process : environ;
}

static char *find_in_process(const char *name, size_t n)
{
    for (char **at = process_environment(); at && *at; at++) {
        if (strncmp(*at, name, n) == 0 && (*at)[n] == '=') {
            return *at + n + 1;
        }
    }
    return NULL;
}

char *env_find(const char *name)
{
    size_t n = strlen(name);
    const zval *own = changed(name, n);

    if (own) {
        return Z_TYPE_P(own) == IS_NULL ? NULL : Z_STRVAL_P(own);
    }
    return find_in_process(name, n);
}

bool env_changes(const char *name, const char **value)
{
    const zval *own = changed(name, strlen(name));

    if (own) {
        *value = Z_TYPE_P(own) == IS_NULL ? NULL : Z_STRVAL_P(own);
    }
    return own != NULL;
}

static bool is_changed(const char *setting)
{
    return changed(setting, strcspn(setting, "=")) != NULL;
}

/* Bytes of the request's own settings; *count grows by how many there are. */
static size_t own_size(HashTable *own, size_t *count)
{
    zend_string *name;
    zval *value;
    size_t size = 0;

    ZEND_HASH_FOREACH_STR_KEY_VAL(own, name, value)
    {
        if (name && Z_TYPE_P(value) != IS_NULL) {
            size += ZSTR_LEN(name) + sizeof "=" + Z_STRLEN_P(value);
            (*count)++;
        }
    }
    ZEND_HASH_FOREACH_END();
    return size;
}

static void append_own(HashTable *own, char **vector, char *text)
{
    zend_string *name;
    zval *value;

    ZEND_HASH_FOREACH_STR_KEY_VAL(own, name, value)
    {
        if (name && Z_TYPE_P(value) != IS_NULL) {
            *vector++ = text;
            text = mempcpy(text, ZSTR_VAL(name), ZSTR_LEN(name));
            *text++ = '=';
            text = mempcpy(text, Z_STRVAL_P(value), Z_STRLEN_P(value) + 1);
        }
    }
    ZEND_HASH_FOREACH_END();
}

char **env_vector(void)
{
    HashTable *own = php_thread ? php_thread->environment : NULL;
    char **all = process_environment();
    size_t count = 1, kept = 0;

    if (!own) {
        return all;
    }
    size_t size = own_size(own, &count);

    for (char **at = all; at && *at; at++) {
        count++;
    }
    char **vector = malloc(count * sizeof *vector + size);

    if (!vector) {
        return NULL;
    }
    for (char **at = all; at && *at; at++) {
        if (!is_changed(*at)) {
            vector[kept++] = *at;
        }
    }
    memset(vector + kept, 0, (count - kept) * sizeof *vector);
    append_own(own, vector + kept, (char *)(vector + count));
    return vector;
}

void env_vector_free(char **vector)
{
    if (vector != process_environment()) {
        free(vector);
    }
}

/* -- for libc, which looks into environ -- */

bool env_is_process(char *const *vector)
{
    return vector == environ || vector == of_process || vector == lent;
}

void env_lend_zone(char *setting)
{
    lent[lent_count] = setting;
    environ = lent;
}

void env_take_back(void)
{
    if (of_process) { /* else nothing was ever lent */
        environ = of_process;
    }
}

/* -- start -- */

static void take_snapshot(void)
{
    size_t count = 0;

    while (environ && environ[count]) {
        count++;
    }
    snapshot = xcalloc(count + 1, sizeof *snapshot);
    zend_interned_strings_switch_storage(0);
    for (size_t i = 0; i < count; i++) {
        const char *equals = strchr(environ[i], '=');

        if (equals && equals > environ[i]) {
            struct variable *v = &snapshot[snapshot_count++];

            v->name = zend_string_init_interned(environ[i], (size_t)(equals - environ[i]), true);
            v->value = zend_string_init_interned(equals + 1, strlen(equals + 1), true);
            zend_string_hash_val(v->name);
        }
    }
    zend_interned_strings_switch_storage(1);
}

static void prepare_lending(void)
{
    size_t count = 0;

    of_process = environ;
    while (of_process && of_process[count]) {
        count++;
    }
    lent = xcalloc(count + 2, sizeof *lent);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(of_process[i], "TZ=", 3) != 0) {
            lent[lent_count++] = of_process[i];
        }
    }
}

void env_start(void)
{
    take_snapshot();
    prepare_lending();
    override_function("getenv", zif_getenv_virtual, NULL);
    override_function("putenv", zif_putenv_virtual, NULL);
}
