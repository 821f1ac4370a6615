/* What libphp hands to libc is not always all that a replaced symbol has to know. Between the two lies one
 * internal function of PHP, and its arguments are there to be read. */
#include "engine/php/caller.h"

/* NULL = the script itself runs, or none. */
static zend_execute_data *internal_frame(void)
{
    zend_execute_data *frame = php_thread && php_thread->request ? EG(current_execute_data) : NULL;

    return frame && frame->func && frame->func->type == ZEND_INTERNAL_FUNCTION ? frame : NULL;
}

bool caller_is_of(const char *extension)
{
    const zend_execute_data *frame = internal_frame();
    const zend_module_entry *module = frame ? frame->func->internal_function.module : NULL;

    return module && strcmp(module->name, extension) == 0;
}

zval *caller_argument(const char *function, uint32_t n)
{
    zend_execute_data *frame = internal_frame();

    if (!frame || ZEND_CALL_NUM_ARGS(frame) < n) {
        return NULL;
    }
    if (function &&
        (frame->func->common.scope || strcmp(ZSTR_VAL(frame->func->common.function_name), function) != 0)) {
        return NULL;
    }
    zval *argument = ZEND_CALL_ARG(frame, n);

    ZVAL_DEREF(argument);
    return argument;
}
