/* Facts about PHP, one a line. See the header. */
#include "engine/php/facts.h"

#include <ctype.h>

#include "engine/php/load.h"
#include "engine/php/sapi.h"
#include "engine/php/thread.h"

static const char *const settings[] = {"memory_limit",
                                       "opcache.enable",
                                       "opcache.memory_consumption",
                                       "opcache.max_accelerated_files",
                                       "opcache.interned_strings_buffer",
                                       NULL};

static void write_module(int fd, const char *name)
{
    char text[128];
    size_t n = 0;
    for (; name[n] && n < sizeof text - 1; n++) {
        text[n] = name[n] == ' ' ? '-' : (char)tolower((unsigned char)name[n]);
    }
    text[n] = '\0';
    dprintf(fd, "module %s\n", text);
}

int php_facts_write(const struct cli_options *cli, const struct pool_conf *pool, int fd)
{
    zend_module_entry *module;

    sapi_prints = true; /* what PHP has to say meanwhile */
    if (load_php(cli, pool, NULL) < 0) {
        return -1;
    }
    ZEND_HASH_FOREACH_PTR(&module_registry, module)
    {
        write_module(fd, module->name);
    }
    ZEND_HASH_FOREACH_END();
    for (size_t i = 0; settings[i]; i++) {
        const char *value = zend_ini_string(settings[i], strlen(settings[i]), 0);
        if (value) {
            dprintf(fd, "ini %s %s\n", settings[i], value);
        }
    }
    return 0;
}
