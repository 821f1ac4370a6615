/* Functions that other application servers have, by their names, for scripts that were written there. Those
 * that are ours by another name are in functions.c's table. On a worker's thread inside a request, or in a
 * worker script. */
#include "engine/php/functions.h"

#include "ext/json/php_json.h"
#include "zend_smart_str.h"

#include "engine/base/log.h"

/* slog's levels, which the caller says. */
static enum log_level level_of(zend_long level)
{
    return level < 0 ? LEVEL_DEBUG : level < 4 ? LEVEL_NOTICE : level < 8 ? LEVEL_WARNING : LEVEL_ERROR;
}

ZEND_FUNCTION(frankenphp_log)
{
    zend_string *message;
    zend_long level = 0;
    zval *context = NULL;
    smart_str text = {0};

    ZEND_PARSE_PARAMETERS_START(1, 3)
    Z_PARAM_STR(message)
    Z_PARAM_OPTIONAL
    Z_PARAM_LONG(level)
    Z_PARAM_ARRAY(context)
    ZEND_PARSE_PARAMETERS_END();
    smart_str_append(&text, message);
    if (context && zend_hash_num_elements(Z_ARRVAL_P(context)) > 0) {
        smart_str_appendc(&text, ' ');
        php_json_encode(&text, context, PHP_JSON_PARTIAL_OUTPUT_ON_ERROR);
    }
    smart_str_0(&text);
    log_write(level_of(level), "php", 0, "%s", text.s ? ZSTR_VAL(text.s) : "");
    smart_str_free(&text);
}
