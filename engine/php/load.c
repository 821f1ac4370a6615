#include "engine/php/load.h"
#include "engine/php/thread.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "TSRM.h"
#include "zend_virtual_cwd.h"

#include "engine/base/log.h"
#include "engine/php/fatal.h"
#include "engine/php/functions.h"
#include "engine/php/hygiene.h"
#include "engine/php/ini.h"
#include "engine/php/messages.h"
#include "engine/php/module.h"
#include "engine/php/opcache.h"
#include "engine/php/process_id.h"
#include "engine/php/program.h"
#include "engine/php/sapi.h"

#define THREADS_MAX 4096

static void choose_php_ini(const struct cli_options *cli)
{
    if (!cli) {
        return;
    }
    sapi_table.php_ini_ignore = cli->no_php_ini;
    sapi_table.php_ini_path_override = cli->php_ini ? strdup(cli->php_ini) : NULL;
    sapi_table.executable_location = cli->argv ? cli->argv[0] : NULL;
}

/* -- messages with root's rights -- */

/* php.ini's error_log often lies where the pool's user may write, and scripts of that user can make this
 * start happen again: a link in the place of that file would let them choose what root appends to. So what
 * PHP has to say meanwhile goes to the server's log. */

typedef void (*error_function)(int type, zend_string *file, const uint32_t line, zend_string *message);
static error_function error_of_php; /* constant once there are threads, as the next */
static bool has_root_rights;

static void on_error(int type, zend_string *file, const uint32_t line, zend_string *message)
{
    char *error_log = PG(error_log);

    if (!has_root_rights) {
        error_of_php(type, file, line, message);
        return;
    }
    PG(error_log) = NULL;
    error_of_php(type, file, line, message); /* may leave by a long jump, which ends this process */
    PG(error_log) = error_log;
}

/* PHP calls this when it has set its own function for errors, and before it reads php.ini. */
static void on_ini_defaults(HashTable *configuration)
{
    if (geteuid() == 0) {
        has_root_rights = true;
        error_of_php = zend_error_cb;
        zend_error_cb = on_error;
    }
    ini_defaults(configuration);
}

/* -- the start -- */

int load_php(const struct cli_options *cli, const struct pool_conf *pool, void (*in_child)(void))
{
    int threads = !pool                                ? 1
                  : pool->s.max_children > THREADS_MAX ? THREADS_MAX
                                                       : (int)(pool->s.max_children + pool->s.worker_num) + 2;

    hygiene_before_php();
    program_in_child = in_child;
    /* php_tsrm_startup_ex(), which PHP 8.2 lacks */
    if (!tsrm_startup(threads, 1, 0, NULL)) {
        log_alert("PHP's thread manager could not start");
        return -1;
    }
    php_reserve_tsrm_memory();
    (void)ts_resource(0);
    ZEND_TSRMLS_CACHE_UPDATE();
    zend_signal_startup();
    choose_php_ini(cli);
    messages_init(cli);
    fatal_init(cli && cli->finds_out);
    sapi_table.php_ini_ignore_cwd = true;
    sapi_startup(&sapi_table);
    ini_set_pool(pool);
    sapi_table.ini_defaults = on_ini_defaults;
    sapi_table.ini_entries = ini_startup_entries(cli, pool);
    cgi_module_entry.functions = functions_table();
    if (php_module_startup(&sapi_table, &cgi_module_entry) == FAILURE) {
        log_alert("PHP could not start; see the messages above");
        return -1;
    }
    program_in_child =
        NULL; /* it was for the child that preloads: what cron starts has the pool's environment */
    if (cli && cli->extended_info) {
        CG(compiler_options) |= ZEND_COMPILE_EXTENDED_INFO;
    }
    opcache_guard();
    return 0;
}

/* An extension may have put a function of its own in front of ours, so ours stays and steps aside. */
void load_settle(void)
{
    has_root_rights = false;
    if (error_of_php && zend_error_cb == on_error) {
        zend_error_cb = error_of_php;
    }
    messages_watch();
    fatal_watch();
    realpath_cache_clean();
    process_id_remember();
}
