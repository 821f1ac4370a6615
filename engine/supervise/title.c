/* Process titles: the kernel shows the memory where the arguments were, and lets a longer text run on into
 * the environment that follows it. So the environment is copied elsewhere first; argv itself stays readable
 * through the copies that title_init puts into it. Main thread only; the copies live as long as the process.
 */
#include "engine/supervise/title.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/str.h"

static char *area;
static size_t area_size;
static const char *said; /* as which program, the last time */
static char **names;     /* the environment, until setenv() makes another */

/* argv and environ lie one after another; whatever breaks the row ends the area. */
static char *end_of_row(char **vector, char *end)
{
    for (size_t i = 0; vector[i]; i++) {
        if (vector[i] == end) {
            end += strlen(vector[i]) + 1;
        }
    }
    return end;
}

static size_t texts_size(char **vector)
{
    size_t n = 0;
    for (size_t i = 0; vector[i]; i++) {
        n += strlen(vector[i]) + 1;
    }
    return n;
}

/* Copies the strings to `at` and what follows it; returns what is behind them. */
static char *move_strings(char **from, char **to, char *at)
{
    size_t i = 0;
    for (; from[i]; i++) {
        size_t n = strlen(from[i]) + 1;
        to[i] = memcpy(at, from[i], n);
        at += n;
    }
    to[i] = NULL;
    return at;
}

void title_init(int argc, char **argv)
{
    if (names || argc < 1 || !argv[0]) {
        return;
    }
    area = argv[0];
    char *end = end_of_row(environ, end_of_row(argv, area));
    area_size = (size_t)(end - area);
    size_t count = 0;
    while (environ[count]) {
        count++;
    }
    /* One block for all: unsetenv() drops single strings, and the others keep the block in use. */
    char *texts = xcalloc(1, texts_size(environ) + texts_size(argv));
    names = xcalloc(count + 1, sizeof(*names));
    char *rest = move_strings(environ, names, texts);
    environ = names;
    move_strings(argv, argv, rest);
}

void title_set(const char *program, const char *text)
{
    said = program ? program : said;
    if (area_size < 2) {
        return;
    }
    memset(area, 0, area_size);
    snprintf(area, area_size - 1, "%s: %s", said, text);
}
