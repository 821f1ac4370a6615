/* See vars_kept.h. Used again is only a table whose rows are what they would be if it were made: the
 * environment's, then each parameter in its place, then ours. Two parameters of one name share a row, and PHP
 * changes some names; such a table is not used again. Nor is one kept in which a variable of the request has
 * taken a row of the environment's, or PHP's own may: the next one need not have it.
 *
 * A script that changes its $_SERVER, or keeps it, has a copy of its own from then on (PHP's
 * copy on write): the table has one reference more. C code may change what it finds there all the same; but
 * rows that are added behind ours are cut off, and each of ours is given its value again. Rows of the
 * environment are the thread's as long as nobody has called putenv(). */
#include "engine/php/vars_kept.h"

#include "engine/php/env.h"
#include "engine/php/vars_own.h"

static bool has_name(const Bucket *row, const char *name, size_t n)
{
    return row->key && ZSTR_LEN(row->key) == n && memcmp(ZSTR_VAL(row->key), name, n) == 0;
}

static bool has_value(const Bucket *row, const char *value, size_t n)
{
    return Z_TYPE(row->val) == IS_STRING && Z_STRLEN(row->val) == n &&
           memcmp(Z_STRVAL(row->val), value, n) == 0;
}

/* known: the name's number, -1 = it has none. */
static void set_value(Bucket *row, const char *value, size_t n, int known)
{
    zend_string *before = Z_TYPE(row->val) == IS_STRING ? Z_STR(row->val) : NULL;
    zval fresh, old;

    if (before && ZSTR_LEN(before) == n && !ZSTR_IS_INTERNED(before) && GC_REFCOUNT(before) == 1) {
        memcpy(ZSTR_VAL(before), value, n); /* nobody else has it: an id, most often */
        zend_string_forget_hash_val(before);
        return;
    }
    if (known >= 0) {
        names_value(known, value, n, &fresh);
    } else {
        ZVAL_STRINGL_FAST(&fresh, value, n);
    }
    ZVAL_COPY_VALUE(&old, &row->val);
    ZVAL_COPY_VALUE(&row->val, &fresh);
    zval_ptr_dtor(&old);
}

/* Its rows, nobody else's, with nothing behind ours. False: they are not what they were. */
static bool make_own(struct vars_table *table)
{
    HashTable *rows = table->rows;

    if (GC_REFCOUNT(rows) > 1) {
        table->rows = zend_array_dup(rows);
        zend_array_release(rows);
        rows = table->rows;
    }
    while (rows->nNumUsed > table->end) {
        zend_hash_del_bucket(rows, rows->arData + rows->nNumUsed - 1);
    }
    return rows->nNumUsed == table->end && rows->nNumOfElements == table->end;
}

/* The row behind the last one; NULL: one of them is another variable. */
static Bucket *set_parameters(Bucket *row, const Bucket *end, const struct request *r)
{
    uint8_t none = 0;

    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];

        if (vars_is_hidden(p)) {
            continue;
        }
        if (row == end || !has_name(row, p->name, p->name_len)) {
            return NULL;
        }
        if (!has_value(row, p->value, p->value_len)) {
            set_value(row, p->value, p->value_len,
                      names_find(p->name, p->name_len,
                                 i < sizeof php_thread->guesses ? &php_thread->guesses[i] : &none));
        }
        row++;
    }
    return row;
}

static Bucket *set_self(Bucket *row, const Bucket *end, const struct request *r)
{
    struct vars_self self;

    if (row == end || !has_name(row, ZEND_STRL("PHP_SELF"))) {
        return NULL;
    }
    vars_self(r, &self);
    if (!has_value(row, self.param.value, self.param.value_len)) {
        set_value(row, self.param.value, self.param.value_len, -1);
    }
    vars_self_free(&self);
    return row + 1;
}

static Bucket *set_own(Bucket *row, const Bucket *end, const struct vars_own *own)
{
    for (size_t i = 0; i < own->count; i++) {
        const struct own_variable *v = &own->list[i];

        if (row == end || row->key != names_string((int)v->name)) {
            return NULL;
        }
        if (!has_value(row, v->value, v->n)) {
            set_value(row, v->value, v->n, (int)v->name);
        }
        row++;
    }
    return row;
}

/* False: it is of other variables. Some of its values may be this request's; each is set before it is used.
 */
static bool fill(struct vars_table *table, const struct request *r, const struct vars_own *own)
{
    size_t least = r->param_count + own->count, rows = table->end - table->first;

    if (!table->rows || table->environment != env_version() || rows < least || rows > least + 1 ||
        !make_own(table)) {
        return false;
    }
    Bucket *row = table->rows->arData + table->first, *end = table->rows->arData + table->end;

    row = set_parameters(row, end, r);
    row = row ? set_self(row, end, r) : NULL;
    row = row ? set_own(row, end, own) : NULL;
    return row && row == end;
}

bool vars_kept_use(struct vars_kept *kept, struct request *r, zval *array)
{
    struct vars_own own;

    vars_own(r, &own);
    for (unsigned i = 0; i < VARS_KEPT; i++) {
        struct vars_table *table = &kept->tables[(kept->next + VARS_KEPT - 1 - i) % VARS_KEPT];

        if (fill(table, r, &own)) {
            zval_ptr_dtor_nogc(array);
            GC_ADDREF(table->rows);
            ZVAL_ARR(array, table->rows);
            return true;
        }
    }
    return false;
}

static void drop(struct vars_table *table)
{
    if (table->rows) {
        zend_array_release(table->rows);
        table->rows = NULL;
    }
}

/* What PHP adds when there is a password. */
static bool environment_has_user(const HashTable *rows, uint32_t first)
{
    static const char *const names[] = {"PHP_AUTH_USER", "PHP_AUTH_PW", "PHP_AUTH_DIGEST"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const zval *value = zend_hash_str_find(rows, names[i], strlen(names[i]));

        if (value && (const Bucket *)value < rows->arData + first) {
            return true;
        }
    }
    return false;
}

/* Each variable of the request has a row behind those of the environment, which are as they were. */
static bool is_apart(const HashTable *rows, uint32_t first, struct request *r)
{
    struct vars_own own;

    vars_own(r, &own);
    size_t behind = 1 + own.count; /* PHP_SELF */

    for (size_t i = 0; i < r->param_count; i++) {
        behind += !vars_is_hidden(&r->params[i]);
    }
    return rows->nNumUsed == rows->nNumOfElements && rows->nNumUsed == first + behind &&
           !environment_has_user(rows, first);
}

void vars_kept_note(struct vars_kept *kept, struct request *r, const zval *array, uint32_t first)
{
    struct vars_table *table = &kept->tables[kept->next++ % VARS_KEPT];
    HashTable *rows = Z_ARRVAL_P(array);

    drop(table);
    if (!(HT_FLAGS(rows) & (HASH_FLAG_PACKED | HASH_FLAG_UNINITIALIZED)) && is_apart(rows, first, r)) {
        GC_ADDREF(rows);
        *table = (struct vars_table){rows, first, rows->nNumUsed, env_version()};
    }
}

void vars_kept_drop(struct vars_kept *kept)
{
    for (unsigned i = 0; i < VARS_KEPT; i++) {
        drop(&kept->tables[i]);
    }
}
