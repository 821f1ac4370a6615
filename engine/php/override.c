#include "engine/php/override.h"

bool override_function(const char *name, zif_handler handler, zif_handler *old)
{
    zend_function *f = zend_hash_str_find_ptr(CG(function_table), name, strlen(name));

    if (!f || f->type != ZEND_INTERNAL_FUNCTION) {
        return false;
    }
    if (old) {
        *old = f->internal_function.handler;
    }
    f->internal_function.handler = handler;
    return true;
}
