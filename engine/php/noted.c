/* See noted.h. The table is made before threads exist and never changes. */
#include "engine/php/noted.h"

#include <string.h>

#include "engine/php/override.h"

static const char *const functions[] = {
    "ini_alter",
    "ini_restore",
    "ini_set",
    "libxml_set_external_entity_loader",
    "libxml_use_internal_errors",
    "mysqli_report",
    "pcntl_async_signals",
    "spl_autoload_extensions",
};

/* Of mbstring all functions are noted but these: they leave nothing behind, and are called often. */
static const char *const harmless[] = {
    "mb_check_encoding", "mb_chr",        "mb_convert_case", "mb_detect_encoding", "mb_ltrim",
    "mb_lcfirst",        "mb_ord",        "mb_rtrim",        "mb_str_pad",         "mb_str_split",
    "mb_strcut",         "mb_stripos",    "mb_strimwidth",   "mb_stristr",         "mb_strlen",
    "mb_strpos",         "mb_strrchr",    "mb_strrichr",     "mb_strripos",        "mb_strrpos",
    "mb_strstr",         "mb_strtolower", "mb_strtoupper",   "mb_strwidth",        "mb_substr",
    "mb_substr_count",   "mb_trim",       "mb_ucfirst",
};

static HashTable handlers; /* name => PHP's own; constant once there are workers */
static _Thread_local bool is_noted, has_driver;
static zend_object *(*create_driver)(zend_class_entry *type); /* mysqli's */

static PHP_FUNCTION(noted)
{
    zif_handler own = (zif_handler)(uintptr_t)zend_hash_find_ptr(&handlers, EX(func)->common.function_name);

    is_noted = true;
    own(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static void note(const zend_string *name)
{
    zif_handler own;

    if (override_function(ZSTR_VAL(name), zif_noted, &own)) {
        zend_hash_str_update_ptr(&handlers, ZSTR_VAL(name), ZSTR_LEN(name), (void *)(uintptr_t)own);
    }
}

static bool is_harmless(const zend_string *name)
{
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (zend_string_equals_cstr(name, harmless[i], strlen(harmless[i]))) {
            return true;
        }
    }
    return false;
}

static void note_mbstring(void)
{
    const zend_module_entry *m = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("mbstring"));

    for (const zend_function_entry *f = m ? m->functions : NULL; f && f->fname; f++) {
        zend_string *name = zend_string_init(f->fname, strlen(f->fname), true);

        if (!is_harmless(name)) {
            note(name);
        }
        zend_string_release_ex(name, true);
    }
}

static zend_object *note_driver(zend_class_entry *type)
{
    has_driver = true;
    return create_driver(type);
}

void noted_install(void)
{
    zend_class_entry *driver = zend_hash_str_find_ptr(CG(class_table), ZEND_STRL("mysqli_driver"));

    zend_hash_init(&handlers, 64, NULL, NULL, true);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        zend_string *name = zend_string_init(functions[i], strlen(functions[i]), true);

        note(name);
        zend_string_release_ex(name, true);
    }
    note_mbstring();
    if (driver && driver->create_object) {
        create_driver = driver->create_object;
        driver->create_object = note_driver;
    }
}

bool noted_take(void)
{
    bool was = is_noted;

    is_noted = false;
    return was;
}

bool noted_driver(void)
{
    return has_driver;
}

bool noted_make_driver(zend_class_entry *driver, zval *object)
{
    bool had = has_driver, made = object_init_ex(object, driver) == SUCCESS;

    has_driver = had;
    return made;
}
