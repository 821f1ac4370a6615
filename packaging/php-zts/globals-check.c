/* Do a thread's globals lie where the code looks for them? Linked to a finished libphp by
 * packaging/php-zts/build, which goes on only if this ends with 0.
 *
 * PHP is started as every program starts it. What it has allocated for a thread is asked for by number: the
 * first few are PHP's own, and all of `expected` are among them. */
#include <stdio.h>

#include "globals_at.h"

#include "SAPI.h"
#include "TSRM.h"
#include "php_embed.h"

#define MOST 12 /* some more than PHP has before it knows an extension */

static const struct {
    const char *name;
    size_t at;
} expected[] = {
    {"sapi", AT_sapi_globals_offset},
    {"core", AT_core_globals_offset},
    {"gc", AT_gc_globals_offset},
    {"alloc", AT_alloc_globals_offset},
    {"cwd", AT_cwd_globals_offset},
    {"compiler", AT_compiler_globals_offset},
    {"executor", AT_executor_globals_offset},
    {"language_scanner", AT_language_scanner_globals_offset},
    {"ini_scanner", AT_ini_scanner_globals_offset},
};

/* Those whose places PHP shows, by name. */
static int shown_are_right(void)
{
    return sapi_globals_offset == AT_sapi_globals_offset && core_globals_offset == AT_core_globals_offset &&
           compiler_globals_offset == AT_compiler_globals_offset &&
           executor_globals_offset == AT_executor_globals_offset &&
           language_scanner_globals_offset == AT_language_scanner_globals_offset &&
           ini_scanner_globals_offset == AT_ini_scanner_globals_offset;
}

/* Has PHP put anything there? */
static int is_taken(size_t at)
{
    for (ts_rsrc_id id = 1; id <= MOST; id++) {
        if ((size_t)((char *)ts_resource_ex(id, NULL) - (char *)tsrm_get_ls_cache()) == at) {
            return 1;
        }
    }
    return 0;
}

int main(void)
{
    int bad = 0;

    php_embed_module.php_ini_ignore = 1;
    php_tsrm_startup();
    sapi_startup(&php_embed_module);
    if (php_embed_module.startup(&php_embed_module) != SUCCESS) {
        puts("PHP does not start");
        return 1;
    }
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        if (!is_taken(expected[i].at)) {
            printf("%s globals are not at %zu\n", expected[i].name, expected[i].at);
            bad = 1;
        }
    }
    if (!shown_are_right()) {
        puts("the globals are in another order");
        bad = 1;
    }
    return bad;
}
