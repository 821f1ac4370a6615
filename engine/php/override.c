/* Before PHP 8.3 each thread has a copy of the function table that modules were loaded into, made when the
 * thread starts; the main thread's is such a copy as well. So what is replaced in it is replaced in the
 * others' again. */
#include "engine/php/override.h"

#include <string.h>

static struct replaced {
    char *name;
    zif_handler handler;
} * replaced; /* each name once; constant once there are workers */
static size_t replaced_n;

static zend_function *find_internal(const char *name)
{
    zend_function *f = zend_hash_str_find_ptr(CG(function_table), name, strlen(name));

    return f && f->type == ZEND_INTERNAL_FUNCTION ? f : NULL;
}

static void remember(const char *name, zif_handler handler)
{
    size_t i = 0;

    while (i < replaced_n && strcmp(replaced[i].name, name) != 0) {
        i++;
    }
    if (i == replaced_n) {
        replaced = perealloc(replaced, ++replaced_n * sizeof *replaced, true); /* or the start ends */
        replaced[i].name = pestrdup(name, true);
    }
    replaced[i].handler = handler;
}

bool override_function(const char *name, zif_handler handler, zif_handler *old)
{
    zend_function *f = find_internal(name);

    if (!f) {
        return false;
    }
    if (old) {
        *old = f->internal_function.handler;
    }
    f->internal_function.handler = handler;
    remember(name, handler);
    return true;
}

void override_thread_start(void)
{
    for (size_t i = 0; i < replaced_n; i++) {
        zend_function *f = find_internal(replaced[i].name);

        if (f && f->internal_function.handler != replaced[i].handler) {
            f->internal_function.handler = replaced[i].handler;
        }
    }
}
