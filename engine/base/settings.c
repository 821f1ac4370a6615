/* The row walker: text into the fields of a struct and back, steered by a table. Supervisor's thread, before
 * others exist. Strings and pairs in the structs are malloc'ed here and freed by settings_free(). */
#include "engine/base/settings.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/must.h"
#include "engine/base/str.h"

static void *field(const struct setting_row *row, void *out)
{
    return (char *)out + row->offset;
}

/* -- text into numbers -- */

int settings_bool(const char *text)
{
    static const char *const yes[] = {"1", "yes", "true", "on"};
    static const char *const no[] = {"0", "no", "none", "false", "off", ""};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcasecmp(text, yes[i]) == 0) {
            return 1;
        }
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        if (strcasecmp(text, no[i]) == 0) {
            return 0;
        }
    }
    return -1;
}

static int find_word(const char *const *words, const char *text)
{
    for (int i = 0; words && words[i]; i++) {
        if (strcasecmp(words[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

/* Decimal digits in front of *end; false: none, or too large. */
static bool leading_number(const char *text, uint64_t *value, const char **end)
{
    size_t n = strspn(text, "0123456789");

    *end = text + n;
    return str_to_u64((struct str){text, n}, value) && *value <= INT64_MAX;
}

struct unit {
    const char *suffix;
    int64_t factor;
};

static const struct unit time_units[] = {
    {"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}, {"y", 31536000}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {NULL, 0},
};

static bool with_unit(const struct unit *units, const char *text, int64_t *out)
{
    uint64_t value;
    const char *end;

    if (!leading_number(text, &value, &end)) {
        return false;
    }
    for (; units->suffix; units++) {
        if (strcasecmp(units->suffix, end) == 0) {
            return !__builtin_mul_overflow((int64_t)value, units->factor, out);
        }
    }
    return false;
}

static bool signed_number(const char *text, int64_t *out)
{
    uint64_t value;
    const char *end;
    bool negative = *text == '-';

    if (!leading_number(text + negative, &value, &end) || *end) {
        return false;
    }
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static int64_t bounded(const struct setting_row *row, int64_t value)
{
    return row->min != row->max && value < row->min ? row->min : value;
}

/* fpm_conf_set_integer() */
static bool number_of_php_fpm(const struct setting_row *row, const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-');

    if (digits[strspn(digits, "0123456789")]) {
        return false;
    }
    *out = bounded(row, strtoll(text, NULL, 10));
    return true;
}

/* fpm_conf_set_time() */
static bool time_of_php_fpm(const char *text, int64_t *out)
{
    size_t n = strlen(text);
    char unit = n > 0 ? text[n - 1] : '\0';
    int64_t factor = unit == 'm'                                   ? 60
                     : unit == 'h'                                 ? 3600
                     : unit == 'd'                                 ? 86400
                     : unit == 's' || (unit >= '0' && unit <= '9') ? 1
                                                                   : 0;
    int64_t number = strtoll(text, NULL, 10);

    if (factor == 0 || __builtin_mul_overflow(number, factor, out)) {
        return false;
    }
    *out = *out < 0 ? 0 : *out > INT32_MAX ? INT32_MAX : *out; /* there it is an int */
    return true;
}

static bool time_or_off(const char *text, int64_t *out)
{
    if (strcasecmp(text, "off") == 0) {
        *out = 0;
        return true;
    }
    return with_unit(time_units, text, out);
}

static bool octal_number(const char *text, int64_t *out)
{
    if (!*text || strspn(text, "01234567") != strlen(text) || strlen(text) > 6) {
        return false;
    }
    *out = strtol(text, NULL, 8);
    return true;
}

static bool parse_number(const struct setting_row *row, const char *text, int64_t *out)
{
    if (find_word(row->words, text) >= 0) {
        *out = row->word_value;
        return true;
    }
    switch (row->type) {
    case SETTING_TIME: return row->as_php_fpm ? time_of_php_fpm(text, out) : time_or_off(text, out);
    case SETTING_SIZE: return with_unit(size_units, text, out);
    case SETTING_OCTAL: return octal_number(text, out);
    default: return row->as_php_fpm ? number_of_php_fpm(row, text, out) : signed_number(text, out);
    }
}

static bool in_bounds(const struct setting_row *row, int64_t value)
{
    bool is_word = row->words && value == row->word_value;

    return row->min == row->max || is_word || (value >= row->min && value <= row->max);
}

/* -- what is expected -- */

static const char *kind_of_number(const struct setting_row *row)
{
    switch (row->type) {
    case SETTING_TIME:
        return row->as_php_fpm ? "a time (30, 30s, 5m, 2h or 1d)" : "a time (30, 30s, 5m, 2h, 1d or off)";
    case SETTING_SIZE: return "a size (4096, 64K, 16M or 2G)";
    case SETTING_OCTAL: return "an octal number (0660)";
    default: return "a number";
    }
}

/* The first word of a WORD row that may be written. */
static int first_word(const struct setting_row *row)
{
    return row->type == SETTING_WORD && !row->initial ? 1 : 0;
}

static void add_words(const struct setting_row *row, const char *before, char *out, size_t size)
{
    for (int i = first_word(row); row->words && row->words[i]; i++) {
        size_t n = strlen(out);
        const char *between = i == first_word(row) ? before : row->words[i + 1] ? ", " : " or ";
        snprintf(out + n, size - n, "%s%s", between, row->words[i]);
    }
}

const char *settings_expected(const struct setting_row *row, char *out, size_t size)
{
    switch (row->type) {
    case SETTING_BOOL: snprintf(out, size, "yes or no"); break;
    case SETTING_STRING:
    case SETTING_LIST:
    case SETTING_MAP: snprintf(out, size, "a text"); break;
    case SETTING_PATH: snprintf(out, size, "a path"); break;
    case SETTING_WORD:
        snprintf(out, size, "%s", "");
        add_words(row, "", out, size);
        break;
    default:
        if (row->min == row->max) {
            snprintf(out, size, "%s", kind_of_number(row));
        } else if (row->max == INT64_MAX) {
            snprintf(out, size, "%s of at least %" PRId64, kind_of_number(row), row->min);
        } else {
            snprintf(out, size, "%s from %" PRId64 " to %" PRId64, kind_of_number(row), row->min, row->max);
        }
        add_words(row, " or ", out, size);
    }
    return out;
}

static int not_expected(const struct setting_row *row, char *error, size_t error_size)
{
    char expected[256];

    snprintf(error, error_size, "expected %s", settings_expected(row, expected, sizeof expected));
    return -1;
}

const char *settings_refusal(const struct setting_row *row, const char *value)
{
    if (row->refusal || !row->as_php_fpm || row->check) {
        return row->refusal;
    }
    switch (row->type) {
    case SETTING_BOOL: return "invalid boolean value";
    case SETTING_INT: return "is not a valid number (greater or equal than zero)";
    case SETTING_TIME: return *value ? "unknown suffix used in time value" : "invalid time value";
    default: return NULL;
    }
}

/* -- one value -- */

static int set_bool(const struct setting_row *row, void *out, const char *value)
{
    int on = settings_bool(value);

    if (on >= 0) {
        *(bool *)field(row, out) = on;
    }
    return on < 0 ? -1 : 0;
}

static int set_number(const struct setting_row *row, void *out, const char *value)
{
    int64_t number;

    if (!parse_number(row, value, &number) || !in_bounds(row, number)) {
        return -1;
    }
    *(int64_t *)field(row, out) = number;
    return 0;
}

static int set_word(const struct setting_row *row, void *out, const char *value)
{
    int word = find_word(row->words, value);

    if (word < first_word(row)) {
        return -1;
    }
    *(int *)field(row, out) = word;
    return 0;
}

static void set_string(const struct setting_row *row, void *out, const char *value)
{
    char **text = field(row, out);

    xwipe(*text);
    *text = row->type == SETTING_PATH && !*value ? NULL : xstrdup(value);
}

static void add_pair(const struct setting_row *row, void *out, const char *key, const char *value,
                     const char *file, int line)
{
    struct setting_pair **end = field(row, out);
    struct setting_pair *pair = xcalloc(1, sizeof *pair);

    pair->key = row->type == SETTING_MAP ? xstrdup(key) : NULL;
    pair->value = xstrdup(value);
    pair->file = file;
    pair->line = line;
    while (*end) {
        end = &(*end)->next;
    }
    *end = pair;
}

static int set_value(const struct setting_row *row, void *out, const char *key, const char *value,
                     const char *file, int line)
{
    switch (row->type) {
    case SETTING_BOOL: return set_bool(row, out, value);
    case SETTING_INT:
    case SETTING_TIME:
    case SETTING_SIZE:
    case SETTING_OCTAL: return set_number(row, out, value);
    case SETTING_WORD: return set_word(row, out, value);
    case SETTING_STRING:
    case SETTING_PATH: set_string(row, out, value); return 0;
    case SETTING_LIST:
    case SETTING_MAP:
        if (row->type == SETTING_MAP && (!key || !*key)) {
            return -1;
        }
        add_pair(row, out, key, value, file, line);
        return 0;
    }
    return -1;
}

int settings_set(const struct setting_row *row, void *out, const char *key, const char *value,
                 const char *file, int line, char *error, size_t error_size)
{
    if (row->check && row->check(value, error, error_size) < 0) {
        return -1;
    }
    if (set_value(row, out, key, value, file, line) < 0) {
        return not_expected(row, error, error_size);
    }
    if (row->given_offset) {
        *(bool *)((char *)out + row->given_offset) = true;
    }
    return 0;
}

void settings_apply_defaults(const struct setting_table *table, void *out)
{
    char error[256];

    for (size_t i = 0; i < table->count; i++) {
        struct setting_row row = table->rows[i];
        row.check = NULL; /* a default may stand for "nothing", which nobody may write */
        row.given_offset = 0;
        if (row.initial) {
            MUST(settings_set(&row, out, NULL, row.initial, NULL, 0, error, sizeof error) == 0);
        }
    }
}

/* -- back into text -- */

static const char *number_text(const struct setting_row *row, int64_t value, char *out, size_t size)
{
    if (row->words && value == row->word_value) {
        snprintf(out, size, "%s", row->words[0]);
    } else if (row->type == SETTING_TIME) {
        snprintf(out, size, "%" PRId64 "s", value);
    } else if (row->type == SETTING_OCTAL) {
        snprintf(out, size, "0%03" PRIo64, (uint64_t)value);
    } else {
        snprintf(out, size, "%" PRId64, value);
    }
    return out;
}

static const char *pairs_text(const struct setting_pair *pair, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (; pair && n < size; pair = pair->next) {
        int added = snprintf(out + n, size - n, "%s%s%s%s", n ? " " : "", pair->key ? pair->key : "",
                             pair->key ? "=" : "", pair->value);
        n += added > 0 ? (size_t)added : 0;
    }
    return out;
}

const char *settings_text(const struct setting_row *row, const void *in, char *out, size_t size)
{
    const void *value = (const char *)in + row->offset;

    switch (row->type) {
    case SETTING_BOOL: snprintf(out, size, "%s", *(const bool *)value ? "yes" : "no"); break;
    case SETTING_INT:
    case SETTING_TIME:
    case SETTING_SIZE:
    case SETTING_OCTAL: return number_text(row, *(const int64_t *)value, out, size);
    case SETTING_WORD: snprintf(out, size, "%s", row->words[*(const int *)value]); break;
    case SETTING_STRING:
    case SETTING_PATH: {
        const char *text = *(char *const *)value;
        snprintf(out, size, "%s", !text ? "undefined" : row->secret && *text ? "***" : text);
        break;
    }
    case SETTING_LIST:
    case SETTING_MAP: return pairs_text(*(struct setting_pair *const *)value, out, size);
    }
    return out;
}

/* -- rows -- */

const struct setting_row *settings_find(const struct setting_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        bool exact = row->type == SETTING_LIST || row->type == SETTING_MAP;
        if ((exact ? strcmp(row->name, name) : strcasecmp(row->name, name)) == 0) {
            return row;
        }
    }
    return NULL;
}

static void free_pairs(struct setting_pair *pair)
{
    while (pair) {
        struct setting_pair *next = pair->next;
        free(pair->key);
        xwipe(pair->value);
        free(pair);
        pair = next;
    }
}

void settings_free(const struct setting_table *table, void *in)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct setting_row *row = &table->rows[i];
        if (row->type == SETTING_STRING || row->type == SETTING_PATH) {
            char **text = field(row, in);
            xwipe(*text);
            *text = NULL;
        } else if (row->type == SETTING_LIST || row->type == SETTING_MAP) {
            struct setting_pair **pairs = field(row, in);
            free_pairs(*pairs);
            *pairs = NULL;
        }
    }
}

/* -- whose they are -- */

bool settings_has_key(const struct setting_pair *pairs, const char *key)
{
    while (pairs && !(pairs->key && strcmp(pairs->key, key) == 0)) {
        pairs = pairs->next;
    }
    return pairs != NULL;
}

bool settings_given(const struct setting_row *row, const void *in)
{
    return row->given_offset && *(const bool *)((const char *)in + row->given_offset);
}

static size_t size_of(enum setting_type type)
{
    switch (type) {
    case SETTING_BOOL: return sizeof(bool);
    case SETTING_WORD: return sizeof(int);
    case SETTING_STRING:
    case SETTING_PATH: return sizeof(char *);
    case SETTING_LIST:
    case SETTING_MAP: return sizeof(struct setting_pair *);
    default: return sizeof(int64_t);
    }
}

void settings_borrow(const struct setting_row *row, void *to, const void *from)
{
    memcpy(field(row, to), (const char *)from + row->offset, size_of(row->type));
}

const char *settings_owner_name(enum setting_owner owner)
{
    static const char *const names[] = {[OWNER_POOL] = "pool",
                                        [OWNER_LISTENER] = "listener",
                                        [OWNER_HOST] = "host",
                                        [OWNER_SITE] = "site",
                                        [OWNER_FILES] = "files"};
    return names[owner];
}
