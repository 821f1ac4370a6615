/* See late_filter.h. */
#include "engine/php/late_filter.h"

#include <dlfcn.h>
#include <strings.h>

#include "SAPI.h"
#include "php_ini.h"
#include "php_variables.h"

#include "engine/php/override.h"

static void (*filter_now)(struct php_thread *t);
static bool is_installed; /* constant once there are workers */
static zif_handler has_var_of_php, input_of_php, input_array_of_php;

static void filter_if_asked(const zend_execute_data *execute_data)
{
    struct php_thread *t = php_thread;
    const zval *type = ZEND_NUM_ARGS() > 0 ? ZEND_CALL_ARG(execute_data, 1) : NULL;

    if (!t || !t->request || !type || Z_TYPE_P(type) > IS_STRING ||
        zval_get_long((zval *)(uintptr_t)type) != PARSE_SERVER) {
        return;
    }
    zend_is_auto_global_str(ZEND_STRL("_SERVER"));
    if (t->server_unfiltered) {
        t->server_unfiltered = false;
        filter_now(t);
    }
}

static PHP_FUNCTION(late_has_var)
{
    filter_if_asked(execute_data);
    has_var_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static PHP_FUNCTION(late_input)
{
    filter_if_asked(execute_data);
    input_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static PHP_FUNCTION(late_input_array)
{
    filter_if_asked(execute_data);
    input_array_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

/* Is what PHP filters with the extension's own? It has no name to the outside. */
static bool is_of(const zend_module_entry *m)
{
    Dl_info filter, own;

    return m && m->functions && dladdr((void *)(uintptr_t)sapi_module.input_filter, &filter) &&
           dladdr((void *)(uintptr_t)m->functions[0].handler, &own) && filter.dli_fbase == own.dli_fbase;
}

void late_filter_install(void (*filter)(struct php_thread *t))
{
    filter_now = filter;
    is_installed = is_of(zend_hash_str_find_ptr(&module_registry, ZEND_STRL("filter"))) &&
                   override_function("filter_has_var", zif_late_has_var, &has_var_of_php) &&
                   override_function("filter_input", zif_late_input, &input_of_php) &&
                   override_function("filter_input_array", zif_late_input_array, &input_array_of_php);
}

bool late_filter_applies(void)
{
    const char *name = is_installed ? INI_STR("filter.default") : NULL;

    return name && strcasecmp(name, "unsafe_raw") == 0;
}
