/* Text pieces that somebody else owns, and the start-up allocators that succeed or end the process. Any
 * thread; no state. */
#include "engine/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* memcmp(NULL, NULL, 0) is undefined, and STR_NONE is an everyday value. */
static bool same_bytes(const char *a, const char *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && same_bytes(a.p, b.p, a.n);
}

static unsigned char fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* Not strncasecmp: that follows the locale, and stops at NUL. */
bool str_same_letters(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fold(a[i]) != fold(b[i])) {
            return false;
        }
    }
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && same_bytes(s.p, prefix.p, prefix.n);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || same_bytes(s.p + (s.n - suffix.n), suffix.p, suffix.n));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1])) {
        s.n--;
    }
    return s;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;

    if (s.n == 0) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

size_t str_put_u64(char out[STR_U64_MAX], uint64_t n)
{
    char backwards[STR_U64_MAX];
    size_t length = 0;

    do {
        backwards[length++] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    for (size_t i = 0; i < length; i++) {
        out[i] = backwards[length - 1 - i];
    }
    return length;
}

bool str_split(struct str *rest, char separator, struct str *piece)
{
    if (!rest->p) {
        return false;
    }
    const char *end = rest->n ? memchr(rest->p, separator, rest->n) : NULL;
    if (!end) {
        *piece = *rest;
        *rest = STR_NONE;
        return true;
    }
    size_t length = (size_t)(end - rest->p);
    *piece = (struct str){rest->p, length};
    *rest = (struct str){end + 1, rest->n - length - 1};
    return true;
}

static bool separates(char c)
{
    return is_blank(c) || c == ',';
}

bool str_word(struct str *rest, struct str *word)
{
    size_t begin = 0;

    while (begin < rest->n && separates(rest->p[begin])) {
        begin++;
    }
    size_t end = begin;

    while (end < rest->n && !separates(rest->p[end])) {
        end++;
    }
    *word = (struct str){rest->p + begin, end - begin};
    *rest = (struct str){rest->p + end, rest->n - end};
    return word->n > 0;
}

static void *or_die(void *p)
{
    if (!p) {
        fputs("tokiophp: out of memory\n", stderr);
        exit(70);
    }
    return p;
}

void *xmalloc(size_t n)
{
    return or_die(malloc(n ? n : 1));
}

void *xcalloc(size_t count, size_t n)
{
    return or_die(calloc(count ? count : 1, n ? n : 1));
}

void *xrealloc(void *p, size_t n)
{
    return or_die(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
    return or_die(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
    return or_die(strndup(s, n));
}

void xwipe(char *text)
{
    if (text) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

char *xasprintf(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return or_die(n < 0 ? NULL : text);
}
