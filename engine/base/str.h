/* A piece of text that somebody else owns: pointer and length, not necessarily NUL-terminated. */
#ifndef ENGINE_BASE_STR_H
#define ENGINE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})

/* NULL gives STR_NONE. */
static inline struct str str_of(const char *text)
{
    return text ? (struct str){text, strlen(text)} : STR_NONE;
}

bool str_eq(struct str a, struct str b);
bool str_same_letters(const char *a, const char *b, size_t n); /* ASCII case folded */
/* Inline: most of what is compared differs in length. */
static inline bool str_ieq(struct str a, struct str b)
{
    return a.n == b.n && str_same_letters(a.p, b.p, a.n);
}
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s); /* blanks and tabs off both ends */

/* A whole non-negative decimal number that fits; digits only, no sign, no blanks. */
bool str_to_u64(struct str s, uint64_t *out);
/* The number in decimal, without a NUL; its length. A printf would cost 300 instructions. */
#define STR_U64_MAX 20
size_t str_put_u64(char out[STR_U64_MAX], uint64_t n);

/* The next piece of *rest up to `separator`; false when *rest is used up (its p is then NULL). */
bool str_split(struct str *rest, char separator, struct str *piece);

/* The next word of a list whose words have blanks, tabs or commas between them; false: there is none. */
bool str_word(struct str *rest, struct str *word);

/* Start-up allocation: these succeed or end the process with a message. Never used in the request path. */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t n);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void xwipe(char *text); /* frees what may be a secret, and leaves none of it behind; NULL is fine */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
