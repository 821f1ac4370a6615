/* Masks over settings. See the header. */
#include "engine/base/settings_mask.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/base/str.h"

static bool sounds_secret(struct str name)
{
    static const char *const words[] = {"pass",       "pw",   "secret", "token", "key",
                                        "credential", "auth", "pin",    "cookie"};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        size_t n = strlen(words[i]);

        for (size_t at = 0; at + n <= name.n; at++) {
            if (strncasecmp(name.p + at, words[i], n) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* The word that ends at `end`: of "https://a/?api_key=1" in front of '=', "api_key". */
static struct str word_before(const char *text, const char *end)
{
    const char *begin = end;

    while (begin > text && (isalnum((unsigned char)begin[-1]) || begin[-1] == '_' || begin[-1] == '-')) {
        begin--;
    }
    return (struct str){begin, (size_t)(end - begin)};
}

/* "//user:word@host", or "name=value" of a name that sounds like it. */
static bool holds_secret(const char *value)
{
    const char *host = strstr(value, "//");

    if (host && host[2 + strcspn(host + 2, "/?#@")] == '@') {
        return true;
    }
    for (const char *equals = strchr(value, '='); equals; equals = strchr(equals + 1, '=')) {
        if (sounds_secret(word_before(value, equals))) {
            return true;
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

/* A pattern of paths is no name: "/login/" + "*" says nothing of what stands behind it. */
static bool is_named_secret(const struct setting_pair *pair)
{
    return pair->key && !strpbrk(pair->key, "/*") && sounds_secret(str_of(pair->key));
}

const char *settings_shown_pair(const struct setting_row *row, const struct setting_pair *pair)
{
    bool shown =
        row->type == SETTING_LIST || (!row->secret && !is_named_secret(pair) &&
                                      (row->open ? !holds_secret(pair->value) : is_plain(pair->value)));

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

void settings_forget(const struct setting_table *table, void *in, bool but_open)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        void *field = (char *)in + row->offset;

        if (row->type == SETTING_STRING && row->secret) {
            mask(*(char **)field);
        } else if (row->type == SETTING_MAP && !(but_open && row->open)) {
            for (struct setting_pair *p = *(struct setting_pair **)field; p; p = p->next) {
                if (settings_shown_pair(row, p) != p->value) {
                    mask(p->value);
                }
            }
        }
    }
}
