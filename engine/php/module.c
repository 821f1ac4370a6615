/* The module entry of "cgi-fcgi": ini entries, per-thread globals, phpinfo() section. Start-up runs on the
 * main thread; globals are made on the thread that they belong to. */
#include "engine/php/module.h"

#include "ext/standard/info.h"
#include "php_ini.h"

#include "engine/php/cgi.h"
#include "engine/php/env.h"
#include "engine/php/fatal.h"
#include "engine/php/hygiene.h"
#include "engine/php/ini.h"
#include "engine/php/names.h"
#include "engine/php/timeout.h"
#include "engine/php/worker_globals.h"

#define FLAG(name, initial, who, field)                                                                      \
    STD_PHP_INI_BOOLEAN(name, initial, who, OnUpdateBool, field, zend_cgi_globals, cgi_globals)
#define TEXT(name, field)                                                                                    \
    STD_PHP_INI_ENTRY(name, NULL, PHP_INI_SYSTEM, OnUpdateString, field, zend_cgi_globals, cgi_globals)

PHP_INI_BEGIN()
FLAG("cgi.rfc2616_headers", "0", PHP_INI_ALL, rfc2616_headers)
FLAG("cgi.nph", "0", PHP_INI_ALL, nph)
FLAG("cgi.force_redirect", "1", PHP_INI_SYSTEM, force_redirect)
TEXT("cgi.redirect_status_env", redirect_status_env)
FLAG("cgi.fix_pathinfo", "1", PHP_INI_SYSTEM, fix_pathinfo)
FLAG("cgi.discard_path", "0", PHP_INI_SYSTEM, discard_path)
FLAG("fastcgi.logging", "1", PHP_INI_SYSTEM, logging)
TEXT("fastcgi.error_header", error_header)
TEXT("fpm.config", fpm_config)
PHP_INI_END()

static PHP_GINIT_FUNCTION(cgi)
{
    memset(cgi_globals, 0, sizeof *cgi_globals);
    ini_user_cache_init(&cgi_globals->user_ini);
}

static PHP_GSHUTDOWN_FUNCTION(cgi)
{
    zend_hash_destroy(&cgi_globals->user_ini);
}

static PHP_MINIT_FUNCTION(cgi)
{
    REGISTER_INI_ENTRIES();
    names_intern();
    worker_globals_start();
    timeout_replace_handlers();
    ini_ban_functions();
    return SUCCESS;
}

static PHP_MSHUTDOWN_FUNCTION(cgi)
{
    UNREGISTER_INI_ENTRIES();
    return SUCCESS;
}

static PHP_RSHUTDOWN_FUNCTION(cgi)
{
    fatal_show();
    env_request_end();
    hygiene_request_end();
    return SUCCESS;
}

static PHP_MINFO_FUNCTION(cgi)
{
    php_info_print_table_start();
    php_info_print_table_row(2, "php-fpm", "active");
    php_info_print_table_row(2, "tokiophp", TOKIOPHP_VERSION);
    php_info_print_table_end();
    DISPLAY_INI_ENTRIES();
}

zend_module_entry cgi_module_entry = {
    STANDARD_MODULE_HEADER,
    "cgi-fcgi",
    NULL, /* functions_table(), set before the module is registered */
    PHP_MINIT(cgi),
    PHP_MSHUTDOWN(cgi),
    NULL,
    PHP_RSHUTDOWN(cgi),
    PHP_MINFO(cgi),
    PHP_VERSION,
    PHP_MODULE_GLOBALS(cgi),
    PHP_GINIT(cgi),
    PHP_GSHUTDOWN(cgi),
    NULL,
    STANDARD_MODULE_PROPERTIES_EX,
};
