/* OPcache's own functions, called from C: inside a request of PHP's. */
#include <string.h>

#include "php.h"
#include "zend_exceptions.h"

#include "engine/php/opcache_private.h"

/* Set before any thread starts; NULL = there is none. */
static zend_function *status_function, *reset_function, *compile_function;

void opcache_find_functions(void)
{
    status_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_get_status"));
    reset_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_reset"));
    compile_function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("opcache_compile_file"));
}

bool opcache_can_tell(void)
{
    return opcache_guarded() && status_function;
}

bool opcache_can_compile(void)
{
    return opcache_can_tell() && compile_function;
}

static void call(zend_function *function, zval *argument, zval *result)
{
    ZVAL_NULL(result);
    zend_call_known_function(function, NULL, NULL, result, 1, argument, NULL);
    if (EG(exception)) {
        zend_clear_exception();
    }
}

void opcache_status(bool with_scripts, zval *status)
{
    zval argument;

    ZVAL_BOOL(&argument, with_scripts);
    call(status_function, &argument, status);
}

void opcache_compile(const char *path, size_t n)
{
    zval argument, result;

    ZVAL_STRINGL(&argument, path, n);
    call(compile_function, &argument, &result);
    zval_ptr_dtor(&result);
    zval_ptr_dtor(&argument);
}

void opcache_reset(void)
{
    zval result;

    ZVAL_NULL(&result);
    zend_call_known_function(reset_function, NULL, NULL, &result, 0, NULL, NULL);
    zval_ptr_dtor(&result);
}

HashTable *opcache_part_of(const zval *status, const char *name)
{
    const zval *part =
        Z_TYPE_P(status) == IS_ARRAY ? zend_hash_str_find(Z_ARRVAL_P(status), name, strlen(name)) : NULL;

    return part && Z_TYPE_P(part) == IS_ARRAY ? Z_ARRVAL_P(part) : NULL;
}
