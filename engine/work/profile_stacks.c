/* The stacks of a profile. See the header. */
#include "engine/work/profile_stacks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"

#define LINE_BYTES 3800 /* a write of it into a pipe is whole */
#define URL_BYTES  200
#define FEW        (PROFILE_STACKS_MAX / 2) /* so many may differ by their URL alone */

struct line {
    char text[LINE_BYTES];
    size_t n;
};

/* -- a line -- */

/* A name as part of a line: no separators, no controls, UTF-8's included. */
static void put(struct line *line, struct str name)
{
    size_t size = sizeof(line->text) - 1;
    line->text[line->n++] = ';';
    for (size_t i = 0; i < name.n && line->n < size; i++) {
        unsigned char c = (unsigned char)name.p[i], before = i ? (unsigned char)name.p[i - 1] : 0;
        bool control = iscntrl(c) || (before == 0xc2 && c >= 0x80 && c < 0xa0);
        line->text[line->n++] = c == ';' || c == ' ' ? '_' : control ? '?' : (char)c;
    }
    line->text[line->n] = '\0';
}

static void begin(struct line *line, const struct profile_sample *s, const char *uri)
{
    char url[URL_BYTES];
    const char *method = s->method ? s->method : "-";
    size_t n = strlen(method) < 20 ? strlen(method) : 20, m = strlen(uri);
    m = m < sizeof(url) - 1 - n ? m : sizeof(url) - 1 - n;
    memcpy(url, method, n);
    url[n] = ' ';
    memcpy(url + n + 1, uri, m);
    line->n = s->slept ? 4 : 3;
    memcpy(line->text, s->slept ? "wait" : "cpu", line->n);
    put(line, (struct str){url, n + 1 + m});
    put(line, str_of(s->script ? s->script : "-"));
}

/* Outermost first. If not all of them fit, the outer ones are left out: time is spent in the inner ones. */
static void put_names(struct line *line, const struct call_stack *stack)
{
    size_t room = sizeof(line->text) - line->n - 64, need = 0;
    unsigned shown = 0;
    while (shown < stack->count && need + stack->size[shown] + 1 <= room) {
        need += stack->size[shown++] + 1u;
    }
    if (stack->outside) {
        put(line, STR("(begin and end)"));
    }
    if (stack->cut || shown < stack->count) {
        put(line, STR("(outer functions)"));
    }
    while (shown > 0) {
        shown--;
        put(line, (struct str){stack->text + stack->at[shown], stack->size[shown]});
    }
}

/* -- counting -- */

/* False: there is no place for it. */
static bool count(struct profile_stacks *all, const char *text, unsigned weight, size_t room)
{
    uint64_t hash = hash_str(str_of(text), 0);
    struct profile_stack *s = NULL;
    for (size_t i = 0; i < 2 * PROFILE_STACKS_MAX; i++) {
        s = &all->table[(hash + i) % (2 * PROFILE_STACKS_MAX)];
        if (!s->text || (s->hash == hash && strcmp(s->text, text) == 0)) {
            break;
        }
    }
    if (!s->text && all->count < room && (s->text = strdup(text)) != NULL) {
        s->hash = hash;
        all->count++;
    }
    s->count += s->text ? weight : 0;
    return s->text != NULL;
}

void profile_stacks_add(struct profile_stacks *all, const struct profile_sample *sample, unsigned weight)
{
    struct line line;
    begin(&line, sample, sample->uri ? sample->uri : "-");
    put_names(&line, sample->stack);
    if (count(all, line.text, weight, FEW)) {
        return;
    }
    begin(&line, sample, "(other URLs)");
    put_names(&line, sample->stack);
    all->others += count(all, line.text, weight, PROFILE_STACKS_MAX) ? 0 : weight;
}

void profile_stacks_write(const struct profile_stacks *all, struct buf *out)
{
    for (size_t i = 0; i < 2 * PROFILE_STACKS_MAX; i++) {
        const struct profile_stack *s = &all->table[i];
        if (s->text) {
            buf_printf(out, "%s %llu\n", s->text, (unsigned long long)s->count);
        }
    }
    if (all->others) {
        buf_printf(out, "cpu;(other stacks) %llu\n", (unsigned long long)all->others);
    }
}

void profile_stacks_free(struct profile_stacks *all)
{
    for (size_t i = 0; i < 2 * PROFILE_STACKS_MAX; i++) {
        free(all->table[i].text);
        all->table[i].text = NULL;
    }
}
