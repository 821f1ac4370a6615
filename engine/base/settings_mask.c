/* Masks over settings. See the header. */
#include "engine/base/settings_mask.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool sounds_secret(const char *name)
{
    static const char *const words[] = {"pass", "pw", "secret", "token", "key", "credential", "auth", "pin"};

    for (size_t i = 0; name && i < sizeof(words) / sizeof(*words); i++) {
        for (const char *p = name; *p; p++) {
            if (strncasecmp(p, words[i], strlen(words[i])) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A number, perhaps with a unit, or a switch. */
static bool is_plain(const char *value)
{
    size_t digits = strspn(value, "-0123456789.");

    return settings_bool(value) >= 0 || (digits > 0 && strspn(value + digits, "kKmMgG") <= 1 &&
                                         value[digits + strspn(value + digits, "kKmMgG")] == '\0');
}

const char *settings_shown_pair(const struct setting_row *row, const struct setting_pair *pair)
{
    bool shown = row->type == SETTING_LIST || row->open ||
                 (!row->secret && is_plain(pair->value) && !sounds_secret(pair->key));

    return shown ? pair->value : SETTINGS_MASK;
}

static const char *shown_pairs(const struct setting_row *row, const struct setting_pair *pair, char *out,
                               size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (; pair && n < size; pair = pair->next) {
        int added = snprintf(out + n, size - n, "%s%s%s%s", n ? " " : "", pair->key ? pair->key : "",
                             pair->key ? "=" : "", settings_shown_pair(row, pair));

        n += added > 0 ? (size_t)added : 0;
    }
    return out;
}

const char *settings_shown(const struct setting_row *row, const void *in, char *out, size_t size)
{
    const void *field = (const char *)in + row->offset;

    return row->type == SETTING_MAP ? shown_pairs(row, *(struct setting_pair *const *)field, out, size)
                                    : settings_text(row, in, out, size);
}

/* -- forgetting -- */

static void mask(char *text)
{
    size_t n = text ? strlen(text) : 0;

    if (n > 0) {
        explicit_bzero(text, n);
        memcpy(text, SETTINGS_MASK, n < sizeof(SETTINGS_MASK) ? n : sizeof(SETTINGS_MASK));
    }
}

void settings_forget(const struct setting_table *table, void *in)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        void *field = (char *)in + row->offset;

        if (row->type == SETTING_STRING && row->secret) {
            mask(*(char **)field);
        } else if (row->type == SETTING_MAP) {
            for (struct setting_pair *p = *(struct setting_pair **)field; p; p = p->next) {
                if (settings_shown_pair(row, p) != p->value) {
                    mask(p->value);
                }
            }
        }
    }
}
