/* Reads a configuration file in php-fpm's dialect through inih: line by line, `include = glob` (any place,
 * five levels, alphabetical), ${ENVIRONMENT}, quotes, PHP's constants and boolean words as php-fpm's own
 * reader turns them, indentation ignored, over-long lines refused instead of cut. */
#ifndef ENGINE_BASE_INI_READER_H
#define ENGINE_BASE_INI_READER_H

#include <stddef.h>

struct ini_entry {
    const char *file;
    int line;
    const char *section; /* "" before the first section */
    const char *name;    /* "env", without the bracket */
    const char *key;     /* "PATH" in env[PATH]; "" in access.suppress_path[]; NULL without brackets */
    const char *value;
    const char *raw; /* the value as it was written, quotes stripped, nothing expanded */
};

/* Called for each entry, and with name == NULL when a section begins. Return 0; or -1: reading stops with an
 * error that the callback has already reported. */
typedef int (*ini_entry_fn)(void *ctx, const struct ini_entry *entry);
/* Told of problems: a sentence with its place. warning: reading goes on. */
typedef void (*ini_problem_fn)(void *ctx, int warning, const char *file, int line, const char *text);

/* prefix: for relative include patterns. 0 or -1. */
int ini_read(const char *path, const char *prefix, ini_entry_fn on_entry, ini_problem_fn on_problem,
             void *ctx);

#endif
