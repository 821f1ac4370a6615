/* See worker_globals.h. */
#include "engine/php/worker_globals.h"

static const char *const texts[SUPERGLOBALS] = {
    [SUPER_GET] = "_GET",         [SUPER_POST] = "_POST",       [SUPER_COOKIE] = "_COOKIE",
    [SUPER_SERVER] = "_SERVER",   [SUPER_ENV] = "_ENV",         [SUPER_FILES] = "_FILES",
    [SUPER_REQUEST] = "_REQUEST", [SUPER_SESSION] = "_SESSION",
};
static zend_string *names[SUPERGLOBALS]; /* permanent; constant once there are workers */

void worker_globals_start(void)
{
    for (int i = 0; i < SUPERGLOBALS; i++) {
        names[i] = zend_string_init_interned(texts[i], strlen(texts[i]), true);
        zend_string_hash_val(names[i]);
    }
}

static zval *find(int i)
{
    return zend_hash_find_known_hash(&EG(symbol_table), names[i]);
}

void worker_globals_aside(struct worker_globals *own)
{
    memcpy(own->tracked, PG(http_globals), sizeof own->tracked);
    for (int i = 0; i < SUPERGLOBALS; i++) {
        const zval *now = find(i);

        ZVAL_UNDEF(&own->visible[i]);
        if (now) {
            ZVAL_COPY(&own->visible[i], now);
        }
    }
}

/* $_ENV is the script's: what its boot has put there (a .env file) is meant for every request. */
static void keep_env(const struct worker_globals *own)
{
    zend_auto_global *global = zend_hash_find_ptr(CG(auto_globals), names[SUPER_ENV]);

    if (Z_TYPE(own->visible[SUPER_ENV]) == IS_UNDEF || !global) {
        return;
    }
    global->armed = false;
    zval_ptr_dtor(&PG(http_globals)[TRACK_VARS_ENV]);
    ZVAL_COPY(&PG(http_globals)[TRACK_VARS_ENV], &own->tracked[TRACK_VARS_ENV]);
    zval copy;

    ZVAL_COPY(&copy, &own->visible[SUPER_ENV]);
    zend_hash_update(&EG(symbol_table), names[SUPER_ENV], &copy);
}

void worker_globals_make(const struct worker_globals *own)
{
    worker_globals_end_session();
    php_hash_environment();
    keep_env(own);
    /* They are made when a script that names them is compiled; this one has been. */
    zend_is_auto_global(names[SUPER_SERVER]);
    zend_is_auto_global(names[SUPER_REQUEST]);
}

void worker_globals_end_session(void)
{
    zend_hash_del(&EG(symbol_table), names[SUPER_SESSION]);
}

void worker_globals_end(void)
{
    for (int i = 0; i < NUM_TRACK_VARS; i++) {
        zval_ptr_dtor(&PG(http_globals)[i]);
        ZVAL_UNDEF(&PG(http_globals)[i]);
    }
}

/* What the request had may end here, and run a destructor that looks: so it goes last. */
static void replace(zval *now, const zval *own)
{
    zval of_request;

    ZVAL_COPY_VALUE(&of_request, now);
    ZVAL_COPY_VALUE(now, own);
    zval_ptr_dtor(&of_request);
}

void worker_globals_take_back(struct worker_globals *own)
{
    memcpy(PG(http_globals), own->tracked, sizeof own->tracked);
    for (int i = 0; i < SUPERGLOBALS; i++) {
        zval *now = find(i);

        if (Z_TYPE(own->visible[i]) != IS_UNDEF && now) {
            replace(now, &own->visible[i]);
        } else if (Z_TYPE(own->visible[i]) != IS_UNDEF) {
            zend_hash_add_new(&EG(symbol_table), names[i], &own->visible[i]);
        } else if (now) {
            zend_hash_del(&EG(symbol_table), names[i]);
        }
    }
}
