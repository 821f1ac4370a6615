/* What C libraries ask the environment once, and keep for the whole process.
 *
 * They ask at their first use. If that were a request's, its putenv() would decide for all that come after
 * it, and SQLite would keep a pointer to a value that ends with that request. So each library is used once at
 * the start. A library that is not loaded is none that a script can use: extensions bring theirs before. */
#include "engine/php/first_use.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* NULL: no such function is loaded. */
static void *loaded(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

/* Folders for temporary files: SQLITE_TMPDIR, TMPDIR. */
static void sqlite(void)
{
    int (*initialize)(void) = (int (*)(void))loaded("sqlite3_initialize");

    if (initialize) {
        initialize();
    }
}

/* Catalogs of XML: XML_CATALOG_FILES. */
static void libxml(void)
{
    void (*initialize)(void) = (void (*)(void))loaded("xmlInitializeCatalog");

    if (initialize) {
        initialize();
    }
}

/* -- ICU, whose functions have its release in their names: uloc_getDefault_72 -- */

struct icu {
    const char *file; /* libicuuc.so.72, NULL = not loaded */
    int release;
};

static int find_icu(struct dl_phdr_info *object, size_t size, void *context)
{
    struct icu *icu = context;
    const char *name = strstr(object->dlpi_name, "libicui18n.so.");

    (void)size;
    if (name && sscanf(name, "libicui18n.so.%d", &icu->release) == 1) {
        icu->file = object->dlpi_name;
    }
    return icu->file != NULL;
}

/* Its dependencies are searched as well. */
static void *function_of(const struct icu *icu, void *library, const char *name)
{
    char full[80];

    snprintf(full, sizeof full, "%s_%d", name, icu->release);
    return dlsym(library, full);
}

/* The default locale (LC_ALL, LC_MESSAGES, LANG), the default time zone (TZ), and where data lies (ICU_DATA,
 * ICU_TIMEZONE_FILES_DIR). */
static void icu(void)
{
    struct icu icu = {0};
    int error = 0; /* a UErrorCode */
    uint16_t zone[128];

    dl_iterate_phdr(find_icu, &icu);
    void *library = icu.file ? dlopen(icu.file, RTLD_LAZY | RTLD_NOLOAD) : NULL;

    if (!library) {
        return;
    }
    const char *(*locale)(void) = (const char *(*)(void))function_of(&icu, library, "uloc_getDefault");
    const char *(*data)(void) = (const char *(*)(void))function_of(&icu, library, "u_getDataDirectory");
    const char *(*zones)(int *) =
        (const char *(*)(int *))function_of(&icu, library, "u_getTimeZoneFilesDirectory");
    int32_t (*default_zone)(uint16_t *, int32_t, int *) =
        (int32_t(*)(uint16_t *, int32_t, int *))function_of(&icu, library, "ucal_getDefaultTimeZone");

    if (data && zones && locale && default_zone) {
        data();
        zones(&error);
        locale();
        default_zone(zone, sizeof zone / sizeof *zone, &error);
    }
    dlclose(library);
}

void first_use_start(void)
{
    sqlite();
    libxml();
    icu();
}
