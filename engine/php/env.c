/* The environment, virtual.
 *
 * env_start copies the process's environment (which is the pool's by then) into permanent strings; nobody
 * changes it afterwards, so all threads read it without a lock. putenv() writes into a table of the request,
 * in PHP's request memory. Programs that a request starts get the difference in front of their command, as
 * the shell's export and unset or as arguments of env(1), because PHP itself would hand them the process's
 * environment. C libraries that call getenv() see the process's: that is what php-fpm gives before putenv().
 */
#include "engine/php/env.h"

#include <unistd.h>

#include "php_variables.h"
#include "zend_smart_str.h"

#include "engine/base/str.h"
#include "engine/php/override.h"

struct variable {
    zend_string *name, *value; /* permanent */
};

static struct variable *snapshot; /* constant after env_start */
static size_t snapshot_count;

static zif_handler proc_open_of_php, exec_of_php, system_of_php, passthru_of_php, shell_exec_of_php,
    popen_of_php;

extern char **environ;

/* -- reading -- */

static const zval *changed(const char *name, size_t n)
{
    const struct php_thread *t = php_thread;

    return t && t->environment ? zend_hash_str_find(t->environment, name, n) : NULL;
}

void env_import(HashTable *out)
{
    const struct php_thread *t = php_thread;
    zend_string *name;
    zval *value, copy;

    for (size_t i = 0; i < snapshot_count; i++) {
        ZVAL_INTERNED_STR(&copy, snapshot[i].value);
        zend_symtable_update(out, snapshot[i].name, &copy);
    }
    if (!t || !t->environment) {
        return;
    }
    ZEND_HASH_FOREACH_STR_KEY_VAL(t->environment, name, value)
    {
        if (Z_TYPE_P(value) == IS_NULL) {
            zend_symtable_del(out, name);
        } else {
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
    if (!t->environment) {
        ALLOC_HASHTABLE(t->environment);
        zend_hash_init(t->environment, 8, NULL, ZVAL_PTR_DTOR, 0);
    }
    const char *equals = memchr(setting, '=', n);

    if (equals) {
        ZVAL_STRINGL(&value, equals + 1, n - (size_t)(equals + 1 - setting));
        n = (size_t)(equals - setting);
    } else {
        ZVAL_NULL(&value);
    }
    zend_hash_str_update(t->environment, setting, n, &value);
    RETURN_TRUE;
}

void env_request_end(void)
{
    struct php_thread *t = php_thread;

    if (t && t->environment) {
        zend_hash_destroy(t->environment);
        FREE_HASHTABLE(t->environment);
        t->environment = NULL;
    }
}

/* -- programs that a request starts -- */

static bool is_shell_name(const zend_string *name)
{
    for (size_t i = 0; i < ZSTR_LEN(name); i++) {
        unsigned char c = (unsigned char)ZSTR_VAL(name)[i];

        if (!(c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (i > 0 && c >= '0' && c <= '9'))) {
            return false;
        }
    }
    return ZSTR_LEN(name) > 0;
}

static void append_quoted(smart_str *out, const zend_string *text)
{
    smart_str_appendc(out, '\'');
    for (size_t i = 0; i < ZSTR_LEN(text); i++) {
        if (ZSTR_VAL(text)[i] == '\'') {
            smart_str_appends(out, "'\\''");
        } else {
            smart_str_appendc(out, ZSTR_VAL(text)[i]);
        }
    }
    smart_str_appendc(out, '\'');
}

/* "export A='1'; unset B; command" */
static void prefix_command(zval *command)
{
    smart_str line = {0};
    zend_string *name;
    zval *value;

    ZEND_HASH_FOREACH_STR_KEY_VAL(php_thread->environment, name, value)
    {
        if (!name || !is_shell_name(name)) {
            continue;
        }
        if (Z_TYPE_P(value) == IS_NULL) {
            smart_str_appends(&line, "unset ");
            smart_str_append(&line, name);
        } else {
            smart_str_appends(&line, "export ");
            smart_str_append(&line, name);
            smart_str_appendc(&line, '=');
            append_quoted(&line, Z_STR_P(value));
        }
        smart_str_appends(&line, "; ");
    }
    ZEND_HASH_FOREACH_END();
    smart_str_append(&line, Z_STR_P(command));
    smart_str_0(&line);
    zval_ptr_dtor(command);
    ZVAL_STR(command, line.s);
}

/* ["env", "-u", "B", "A=1", command ...] */
static void prefix_arguments(zval *command)
{
    zval list, *part;
    zend_string *name;

    array_init(&list);
    add_next_index_string(&list, "/usr/bin/env");
    ZEND_HASH_FOREACH_STR_KEY_VAL(php_thread->environment, name, part)
    {
        if (name && Z_TYPE_P(part) == IS_NULL) {
            add_next_index_string(&list, "-u");
            add_next_index_str(&list, zend_string_copy(name));
        }
    }
    ZEND_HASH_FOREACH_END();
    ZEND_HASH_FOREACH_STR_KEY_VAL(php_thread->environment, name, part)
    {
        if (name && Z_TYPE_P(part) != IS_NULL) {
            add_next_index_str(&list, zend_strpprintf(0, "%s=%s", ZSTR_VAL(name), Z_STRVAL_P(part)));
        }
    }
    ZEND_HASH_FOREACH_END();
    ZEND_HASH_FOREACH_VAL(Z_ARRVAL_P(command), part)
    {
        Z_TRY_ADDREF_P(part);
        zend_hash_next_index_insert(Z_ARRVAL(list), part);
    }
    ZEND_HASH_FOREACH_END();
    zval_ptr_dtor(command);
    ZVAL_COPY_VALUE(command, &list);
}

/* The frame's first argument is the command; environment_argument: which one names an environment, 0 = none.
 */
static void pass_environment(zend_execute_data *execute_data, uint32_t environment_argument)
{
    uint32_t count = ZEND_CALL_NUM_ARGS(execute_data);

    if (!php_thread || !php_thread->environment || count == 0) {
        return;
    }
    if (environment_argument && count >= environment_argument &&
        Z_TYPE_P(ZEND_CALL_ARG(execute_data, environment_argument)) == IS_ARRAY) {
        return; /* the script says itself what the program sees */
    }
    zval *command = ZEND_CALL_ARG(execute_data, 1);

    if (Z_TYPE_P(command) == IS_STRING && Z_STRLEN_P(command) > 0) {
        prefix_command(command);
    } else if (Z_TYPE_P(command) == IS_ARRAY && zend_hash_num_elements(Z_ARRVAL_P(command)) > 0) {
        prefix_arguments(command);
    }
}

#define WITH_ENVIRONMENT(function, environment_argument)                                                     \
    static PHP_FUNCTION(function##_with_environment)                                                         \
    {                                                                                                        \
        pass_environment(execute_data, environment_argument);                                                \
        function##_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);                                                 \
    }
WITH_ENVIRONMENT(proc_open, 5)
WITH_ENVIRONMENT(exec, 0)
WITH_ENVIRONMENT(system, 0)
WITH_ENVIRONMENT(passthru, 0)
WITH_ENVIRONMENT(shell_exec, 0)
WITH_ENVIRONMENT(popen, 0)

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

void env_start(void)
{
    take_snapshot();
    override_function("getenv", zif_getenv_virtual, NULL);
    override_function("putenv", zif_putenv_virtual, NULL);
    override_function("proc_open", zif_proc_open_with_environment, &proc_open_of_php);
    override_function("exec", zif_exec_with_environment, &exec_of_php);
    override_function("system", zif_system_with_environment, &system_of_php);
    override_function("passthru", zif_passthru_with_environment, &passthru_of_php);
    override_function("shell_exec", zif_shell_exec_with_environment, &shell_exec_of_php);
    override_function("popen", zif_popen_with_environment, &popen_of_php);
}
