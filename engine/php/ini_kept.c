/* Settings that are put back after a request of a worker script. See the header. */
#include "engine/php/ini_kept.h"

#include "php.h"

#pragma weak ps_globals_id /* sessions may be missing in a PHP of somebody else's */
#include "ext/session/php_session.h"
#include "php_ini.h"

struct setting {
    zend_string *name, *value; /* the name is the entry's */
    uint8_t modifiable;
};

struct ini_kept {
    size_t count;
    struct setting settings[];
};

struct ini_kept *ini_keep(void)
{
    uint32_t count = EG(modified_ini_directives) ? zend_hash_num_elements(EG(modified_ini_directives)) : 0;
    struct ini_kept *kept = safe_emalloc(count, sizeof(struct setting), sizeof(*kept));
    zend_ini_entry *entry;

    kept->count = 0;
    if (count == 0) {
        return kept;
    }
    ZEND_HASH_FOREACH_PTR(EG(modified_ini_directives), entry)
    {
        kept->settings[kept->count++] = (struct setting){
            entry->name, entry->value ? zend_string_copy(entry->value) : NULL, entry->modifiable};
    }
    ZEND_HASH_FOREACH_END();
    return kept;
}

static bool is_kept(const struct ini_kept *kept, const zend_string *name)
{
    for (size_t i = 0; i < kept->count; i++) {
        if (kept->settings[i].name == name) {
            return true;
        }
    }
    return false;
}

/* Those that the boot had not changed. Restoring takes them out of the table, so it is begun again. */
static bool restore_one(const struct ini_kept *kept)
{
    zend_string *name;

    ZEND_HASH_FOREACH_STR_KEY(EG(modified_ini_directives), name)
    {
        if (name && !is_kept(kept, name)) {
            zend_string *copy = zend_string_copy(name);

            zend_restore_ini_entry(copy, ZEND_INI_STAGE_DEACTIVATE);
            zend_hash_del(EG(modified_ini_directives), copy);
            zend_string_release(copy);
            return true;
        }
    }
    ZEND_HASH_FOREACH_END();
    return false;
}

static bool is_same(const zend_string *a, const zend_string *b)
{
    return a == b || (a && b && zend_string_equals(a, b));
}

static bool put_back(const struct setting *was)
{
    zend_ini_entry *entry = zend_hash_find_ptr(EG(ini_directives), was->name);

    if (!entry || (entry->modified && is_same(entry->value, was->value))) {
        return false;
    }
    if (&ps_globals_id) {
        PS(set_handler) = 1; /* else session.save_handler refuses "user" */
    }
    zend_alter_ini_entry_ex(was->name, was->value ? was->value : ZSTR_EMPTY_ALLOC(), PHP_INI_SYSTEM,
                            ZEND_INI_STAGE_DEACTIVATE, true);
    if (&ps_globals_id) {
        PS(set_handler) = 0;
    }
    entry->modifiable = was->modifiable;
    return true;
}

bool ini_put_back(const struct ini_kept *kept)
{
    bool changed = false;

    while (EG(modified_ini_directives) && restore_one(kept)) {
        changed = true;
    }
    for (size_t i = 0; i < kept->count; i++) {
        changed |= put_back(&kept->settings[i]);
    }
    return changed;
}

void ini_free_kept(struct ini_kept *kept)
{
    for (size_t i = 0; i < kept->count; i++) {
        if (kept->settings[i].value) {
            zend_string_release(kept->settings[i].value);
        }
    }
    efree(kept);
}
