/* Values in PHP's ini dialect. A value is a run of pieces - bare text, "double", 'single', ${VARIABLE} - that
 * are joined; where an operator stands outside quotes it is an arithmetic expression instead. Supervisor's
 * thread; the caller owns the buffers. */
#include "engine/base/ini_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define OPERATORS "|&^~!()"
#define DEPTH_MAX 32 /* of parentheses and signs */

struct scanner {
    const char *p;
    char *error;
    size_t error_size;
    int depth;
    bool failed;
};

struct constant {
    const char *name;
    const char *value;
};

/* Numbers of PHP, which php-fpm's reader would have looked up; words for yes, no and nothing. */
static const struct constant constants[] = {
    {"E_ERROR", "1"},
    {"E_WARNING", "2"},
    {"E_PARSE", "4"},
    {"E_NOTICE", "8"},
    {"E_CORE_ERROR", "16"},
    {"E_CORE_WARNING", "32"},
    {"E_COMPILE_ERROR", "64"},
    {"E_COMPILE_WARNING", "128"},
    {"E_USER_ERROR", "256"},
    {"E_USER_WARNING", "512"},
    {"E_USER_NOTICE", "1024"},
    {"E_STRICT", "2048"},
    {"E_RECOVERABLE_ERROR", "4096"},
    {"E_DEPRECATED", "8192"},
    {"E_USER_DEPRECATED", "16384"},
    {"E_ALL", INI_E_ALL_HAS_STRICT ? "32767" : "30719"},
    {"PHP_OS", "Linux"},
    {"PHP_OS_FAMILY", "Linux"},
    {"PHP_EOL", "\n"},
    {"PHP_INT_MAX", "9223372036854775807"},
    {"PHP_INT_MIN", "-9223372036854775808"},
    {"PHP_INT_SIZE", "8"},
    {"PHP_SAPI", "fpm-fcgi"},
    {"DIRECTORY_SEPARATOR", "/"},
    {"PATH_SEPARATOR", ":"},
#ifdef PHP_RUNTIME_VERSION
    {"PHP_VERSION", PHP_RUNTIME_VERSION},
#endif
};
static const struct constant words[] = {
    {"true", "1"}, {"on", "1"}, {"yes", "1"}, {"false", ""},
    {"off", ""},   {"no", ""},  {"none", ""}, {"null", ""},
};

static int fail(struct scanner *s, const char *format, const char *detail)
{
    if (!s->failed) {
        snprintf(s->error, s->error_size, format, detail);
        s->failed = true;
    }
    return -1;
}

static void skip_blanks(struct scanner *s)
{
    while (*s->p == ' ' || *s->p == '\t') {
        s->p++;
    }
}

/* ${NAME} or ${NAME:-default}, at its '$'. */
static int expand(struct scanner *s, struct buf *out)
{
    char name[256];
    const char *begin = s->p + 2;
    const char *end = strchr(begin, '}');

    if (!end) {
        return fail(s, "syntax error, '${' without '%s'", "}");
    }
    if ((size_t)(end - begin) >= sizeof name) {
        return fail(s, "the name in ${} is too long%s", "");
    }
    snprintf(name, sizeof name, "%.*s", (int)(end - begin), begin);
    char *fallback = strstr(name, ":-");
    if (fallback) {
        *fallback = '\0';
        fallback += 2;
    }
    const char *found = getenv(name);
    if (!found) {
        found = fallback ? fallback : "";
    }
    buf_text(out, found);
    s->p = end + 1;
    return 0;
}

static int double_quoted(struct scanner *s, struct buf *out)
{
    for (s->p++; *s->p && *s->p != '"';) {
        if (*s->p == '\\' && (s->p[1] == '"' || s->p[1] == '\\' || s->p[1] == '\'')) {
            buf_add(out, s->p + 1, 1);
            s->p += 2;
        } else if (s->p[0] == '$' && s->p[1] == '{') {
            if (expand(s, out) < 0) {
                return -1;
            }
        } else {
            buf_add(out, s->p++, 1);
        }
    }
    if (!*s->p) {
        return fail(s,
                    "syntax error, unexpected end of file, expecting TC_DOLLAR_CURLY or TC_QUOTED_STRING or "
                    "'%s'",
                    "\"");
    }
    s->p++;
    return 0;
}

static int single_quoted(struct scanner *s, struct buf *out)
{
    const char *end = strchr(s->p + 1, '\'');

    if (!end) {
        return fail(s, "syntax error, unexpected end of file%s", "");
    }
    buf_add(out, s->p + 1, (size_t)(end - s->p - 1));
    s->p = end + 1;
    return 0;
}

static const char *find_constant(const char *text, size_t n)
{
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (strlen(constants[i].name) == n && strncmp(constants[i].name, text, n) == 0) {
            return constants[i].value;
        }
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i].name) == n && strncasecmp(words[i].name, text, n) == 0) {
            return words[i].value;
        }
    }
    return NULL;
}

static bool ends_bare(const char *p)
{
    return !*p || strchr(";\"'=" OPERATORS, *p) || (p[0] == '$' && p[1] == '{');
}

/* Bare text up to something special; blanks in front of the end of the value are not part of it. alone: it is
 * all that the value consists of, so that it may be a word with a meaning. */
static void bare(struct scanner *s, struct buf *out, bool alone)
{
    const char *begin = s->p;

    while (!ends_bare(s->p)) {
        s->p++;
    }
    size_t n = (size_t)(s->p - begin);
    if (!*s->p || *s->p == ';' || strchr(OPERATORS, *s->p)) {
        while (n > 0 && (begin[n - 1] == ' ' || begin[n - 1] == '\t')) {
            n--;
        }
    } else {
        alone = false;
    }
    const char *meaning = alone ? find_constant(begin, n) : NULL;
    if (meaning) {
        buf_text(out, meaning);
    } else {
        buf_add(out, begin, n);
    }
}

/* Pieces up to the end of the value, or to an operator if it is an operand. */
static int pieces(struct scanner *s, struct buf *out)
{
    bool first = true;

    skip_blanks(s);
    while (*s->p && *s->p != ';' && !strchr(OPERATORS, *s->p)) {
        if (*s->p == '=') {
            return fail(s, "syntax error, unexpected '%s'", "=");
        }
        if (*s->p == '"' || *s->p == '\'') {
            if ((*s->p == '"' ? double_quoted(s, out) : single_quoted(s, out)) < 0) {
                return -1;
            }
            skip_blanks(s); /* what follows is joined without them */
        } else if (s->p[0] == '$' && s->p[1] == '{') {
            if (expand(s, out) < 0) {
                return -1;
            }
        } else {
            bare(s, out, first);
        }
        first = false;
    }
    return 0;
}

/* -- expressions -- */

static long expression(struct scanner *s);

static long operand(struct scanner *s)
{
    struct buf text = {0};

    if (pieces(s, &text) == 0 && text.n == 0 && (!*s->p || *s->p == ';' || strchr(OPERATORS, *s->p))) {
        char unexpected[2] = {*s->p, '\0'};
        fail(s, "syntax error, unexpected '%s'", *s->p && *s->p != ';' ? unexpected : "end of line");
    }
    long number = text.n ? strtol(text.p, NULL, 10) : 0;
    buf_free(&text);
    return number;
}

static long unary(struct scanner *s)
{
    long number;

    skip_blanks(s);
    if (++s->depth > DEPTH_MAX) {
        fail(s, "the expression is nested too deeply%s", "");
        return 0;
    }
    switch (*s->p) {
    case '~':
        s->p++;
        number = ~unary(s);
        break;
    case '!':
        s->p++;
        number = !unary(s);
        break;
    case '(':
        s->p++;
        number = expression(s);
        if (*s->p == ')') {
            s->p++;
        } else {
            fail(s, "syntax error, '(' without '%s'", ")");
        }
        break;
    default: number = operand(s);
    }
    s->depth--;
    skip_blanks(s);
    return number;
}

/* From left to right: PHP gives the three the same precedence. */
static long expression(struct scanner *s)
{
    long left = unary(s);

    while (!s->failed && *s->p && strchr("|&^", *s->p)) {
        char sign = *s->p++;
        long right = unary(s);
        left = sign == '|' ? left | right : sign == '&' ? left & right : left ^ right;
    }
    return left;
}

/* The end of the value (its comment, or the end of the line), and whether an operator stands outside quotes.
 * An unclosed quote reaches to the end: the scanner complains then. */
static const char *find_end(const char *text, bool *has_operator)
{
    char quote = '\0';
    const char *p = text;

    *has_operator = false;
    for (; *p && (quote || *p != ';'); p++) {
        if (quote) {
            if (quote == '"' && p[0] == '\\' && p[1]) {
                p++;
            } else if (*p == quote) {
                quote = '\0';
            }
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (p[0] == '$' && p[1] == '{') {
            p += strcspn(p, "}");
            if (!*p) {
                break;
            }
        } else if (strchr(OPERATORS, *p)) {
            *has_operator = true;
        }
    }
    return p;
}

static void set_raw(const char *text, const char *end, struct buf *raw)
{
    struct str s = str_trim((struct str){text, (size_t)(end - text)});
    bool quoted = s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0] &&
                  !memchr(s.p + 1, s.p[0], s.n - 2);

    buf_str(raw, quoted ? (struct str){s.p + 1, s.n - 2} : s);
}

int ini_value_parse(const char *text, struct buf *value, struct buf *raw, char *error, size_t error_size)
{
    struct scanner s = {.p = text, .error = error, .error_size = error_size};
    bool has_operator;
    const char *end = find_end(text, &has_operator);

    set_raw(text, end, raw);
    if (!has_operator) {
        pieces(&s, value);
    } else {
        long number = expression(&s);
        if (!s.failed && *s.p && *s.p != ';') {
            char unexpected[2] = {*s.p, '\0'};
            fail(&s, "syntax error, unexpected '%s'", unexpected);
        }
        buf_printf(value, "%ld", number);
    }
    if (value->failed || raw->failed) {
        fail(&s, "out of memory%s", "");
    }
    return s.failed ? -1 : 0;
}
