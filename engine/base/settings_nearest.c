/* What a mistyped name of a setting may have meant. */
#include <string.h>

#include "engine/base/settings.h"

#define NAME_MAX_COMPARED 63

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;

    return least < c ? least : c;
}

/* The number of letters to insert, remove or change; names are at most NAME_MAX_COMPARED long. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_COMPARED + 1];
    size_t n = strlen(b);

    for (unsigned i = 0; i <= n; i++) {
        row[i] = i;
    }
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

/* php-fpm users know the last part: "max_children" means "pm.max_children". */
static unsigned name_distance(const char *known, const char *typed)
{
    unsigned whole = edit_distance(known, typed);
    const char *dot = strrchr(known, '.');

    if (dot && edit_distance(dot + 1, typed) == 0) {
        return 1;
    }
    return whole;
}

const char *settings_nearest(const struct setting_table *const *tables, size_t count, const char *name)
{
    const char *best = NULL;
    size_t n = strlen(name);
    unsigned limit = (unsigned)(n / 3) + 1;

    if (n > NAME_MAX_COMPARED) {
        return NULL;
    }
    for (size_t t = 0; t < count; t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            const char *known = tables[t]->rows[i].name;
            unsigned distance = name_distance(known, name);
            if (distance <= limit) {
                best = known;
                limit = distance ? distance - 1 : 0;
            }
        }
    }
    return best;
}
