/* Configuration files through inih. inih splits lines into sections, names and values; around it this reader
 * gives it php-fpm's dialect. Three things of inih's do not fit: it takes an indented line for a
 * continuation, cuts lines at a length fixed when it was built, and knows no PHP values. So each line is read
 * here, without its indentation and as long as LINE_BYTES, its value is kept here (ini_value.c evaluates it),
 * and inih is handed the line with a short stand-in for the value. Supervisor's thread. File names in entries
 * live until the process ends: settings point at them. */
#include "engine/base/ini_reader.h"

#include <errno.h>
#include <glob.h>
#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/buf.h"
#include "engine/base/heap.h"
#include "engine/base/ini_value.h"
#include "engine/base/must.h"
#include "engine/base/str.h"

#define LINE_BYTES   8192
#define READ_BYTES   4096
#define NAME_BYTES   150 /* fits inih's smallest line buffer, with the stand-in */
#define SECTION_MAX  49  /* inih keeps no more */
#define INCLUDES_MAX 5
#define STAND_IN     "1"

/* One call of ini_read(). */
struct reading {
    const char *prefix;
    ini_entry_fn on_entry;
    ini_problem_fn on_problem;
    void *ctx;
    int depth;
    bool failed;
    char section[SECTION_MAX + 1]; /* survives an include: the included file begins in it */
};

/* One file of it. */
struct source {
    struct reading *reading;
    FILE *file;
    const char *path;
    int line;
    char text[LINE_BYTES], read[READ_BYTES];
    const char *value_text; /* into text: behind '=' of the line that inih is looking at */
};

/* Names of files that were read; entries and settings point at them. Only grows by new names; supervisor's
 * thread. */
struct kept_name {
    struct kept_name *next;
    char text[];
};
static struct kept_name *kept_names;

static const char *keep_name(const char *path)
{
    size_t n = strlen(path) + 1;

    for (struct kept_name *k = kept_names; k; k = k->next) {
        if (strcmp(k->text, path) == 0) {
            return k->text;
        }
    }
    struct kept_name *kept = xmalloc(sizeof *kept + n);
    memcpy(kept->text, path, n);
    kept->next = kept_names;
    kept_names = kept;
    return kept->text;
}

static int read_file(struct reading *r, const char *path);

__attribute__((format(printf, 5, 6))) static void problem(struct reading *r, int warning, const char *file,
                                                          int line, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!warning) {
        r->failed = true;
    }
    r->on_problem(r->ctx, warning, file, line, text);
}

/* -- lines -- */

/* The next line into text, without blanks around it; false at the end or after an error. */
static bool next_line(struct source *s)
{
    if (s->reading->failed || !fgets(s->text, sizeof s->text, s->file)) {
        return false;
    }
    s->line++;
    size_t n = strlen(s->text);
    bool complete = n > 0 && s->text[n - 1] == '\n';
    if (!complete && !feof(s->file)) {
        problem(s->reading, 0, s->path, s->line, "the line is longer than %d bytes or contains a NUL byte",
                LINE_BYTES - 2);
        return false;
    }
    const char *begin = s->text;
    if (s->line == 1 && strncmp(begin, "\xef\xbb\xbf", 3) == 0) {
        begin += 3; /* a byte order mark */
    }
    begin += strspn(begin, " \t");
    n = strlen(begin);
    while (n > 0 && strchr(" \t\r\n", begin[n - 1])) {
        n--;
    }
    memmove(s->text, begin, n);
    s->text[n] = '\0';
    return true;
}

/* "[name]", perhaps with a comment behind it. */
static int begin_section(struct source *s)
{
    struct reading *r = s->reading;
    char *end = strchr(s->text, ']');

    if (!end || (end[1 + strspn(end + 1, " \t")] && end[1 + strspn(end + 1, " \t")] != ';')) {
        problem(r, 0, s->path, s->line,
                end ? "Unknown INI syntax" : "syntax error, unexpected end of file, expecting ']'");
        return -1;
    }
    struct str name = str_trim((struct str){s->text + 1, (size_t)(end - s->text - 1)});
    if (name.n == 0 || name.n > SECTION_MAX) {
        problem(r, 0, s->path, s->line, "a section's name has 1 to %d characters", SECTION_MAX);
        return -1;
    }
    snprintf(r->section, sizeof r->section, "%.*s", (int)name.n, name.p);
    struct ini_entry entry = {.file = s->path, .line = s->line, .section = r->section};
    if (r->on_entry(r->ctx, &entry) < 0) {
        r->failed = true;
        return -1;
    }
    return 0;
}

/* Splits off the value and leaves "name = stand-in" for inih. */
static int begin_entry(struct source *s, char *out, int size)
{
    char *equals = strchr(s->text, '=');

    if (!equals || equals == s->text) {
        problem(s->reading, 0, s->path, s->line, "%s",
                equals                 ? "syntax error, unexpected '='"
                : strchr(s->text, '[') ? "syntax error, unexpected END_OF_LINE, expecting '='"
                                       : "value is NULL for a ZEND_INI_PARSER_ENTRY");
        return -1;
    }
    struct str name = str_trim((struct str){s->text, (size_t)(equals - s->text)});
    /* inih would also split at ':' and begin a comment at " ;" */
    if (name.n > NAME_BYTES || memchr(name.p, ':', name.n) || memchr(name.p, ';', name.n)) {
        problem(s->reading, 0, s->path, s->line, "Unknown INI syntax");
        return -1;
    }
    s->value_text = equals + 1;
    snprintf(out, (size_t)size, "%.*s=" STAND_IN "\n", (int)name.n, name.p);
    return 0;
}

/* inih's fgets. */
static char *give_line(char *out, int size, void *stream)
{
    struct source *s = stream;

    for (;;) {
        if (!next_line(s)) {
            return NULL;
        }
        if (s->text[0] == '\0' || s->text[0] == ';' || s->text[0] == '#') {
            continue;
        }
        if (s->text[0] != '[') {
            return begin_entry(s, out, size) < 0 ? NULL : out;
        }
        if (begin_section(s) < 0) {
            return NULL;
        }
        snprintf(out, (size_t)size, "[%s]\n", s->reading->section);
        return out;
    }
}

/* -- include -- */

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Sets reading->failed on errors. A pattern that matches nothing is only worth a warning, as in php-fpm. */
static void include(struct source *s, const char *pattern)
{
    struct reading *r = s->reading;
    char section[sizeof r->section];
    glob_t found;
    char *path = *pattern == '/' || !r->prefix ? xstrdup(pattern) : xasprintf("%s/%s", r->prefix, pattern);
    int result = glob(path, GLOB_ERR | GLOB_MARK, NULL, &found);

    if (result == GLOB_NOMATCH) {
        problem(r, 1, NULL, 0, "Nothing matches the include pattern '%s' from %s at line %d.", path, s->path,
                s->line);
    } else if (result != 0) {
        problem(r, 0, NULL, 0, "Unable to globalize '%s' (ret=%d) from %s at line %d.", path, result, s->path,
                s->line);
    }
    memcpy(section, r->section, sizeof section);
    for (size_t i = 0; result == 0 && i < found.gl_pathc && !r->failed; i++) {
        if (is_directory(found.gl_pathv[i])) {
            continue;
        }
        if (read_file(r, found.gl_pathv[i]) < 0) {
            problem(r, 0, NULL, 0, "Unable to include %s from %s at line %d", found.gl_pathv[i], s->path,
                    s->line);
        }
    }
    memcpy(r->section, section, sizeof section);
    if (result == 0) {
        globfree(&found);
    }
    free(path);
}

/* -- entries -- */

/* "name[key]" into its two parts, in place. */
static int split_key(char *name, const char **key)
{
    char *open = strchr(name, '[');

    *key = NULL;
    if (!open) {
        return 0;
    }
    size_t n = strlen(open);
    if (open == name || open[n - 1] != ']') {
        return -1;
    }
    open[n - 1] = '\0';
    *open = '\0';
    *key = open + 1;
    return 0;
}

static void deliver(struct source *s, char *name, const char *value, const char *raw)
{
    struct reading *r = s->reading;
    struct ini_entry entry = {
        .file = s->path, .line = s->line, .section = r->section, .value = value, .raw = raw};

    if (split_key(name, &entry.key) < 0) {
        problem(r, 0, s->path, s->line, "Unknown INI syntax");
    } else if (strcmp(name, "include") == 0 && !entry.key) {
        include(s, value);
    } else {
        entry.name = name;
        r->failed = r->failed || r->on_entry(r->ctx, &entry) < 0;
    }
}

/* Room for any line at once: a buffer that grows leaves pieces of a secret behind. */
static struct buf roomy(void)
{
    struct buf b = {.p = heap_alloc(LINE_BYTES), .size = LINE_BYTES};

    MUST(b.p);
    b.p[0] = '\0';
    return b;
}

/* inih's handler: 1 = fine, 0 = an error at this line. */
static int on_line(void *user, const char *section, const char *name, const char *value)
{
    struct source *s = user;
    struct buf evaluated = roomy(), raw = roomy();
    char error[256], own_name[NAME_BYTES + 1];

    (void)section; /* inih's is empty at the start of an included file; ours is not */
    (void)value;   /* the stand-in */
    snprintf(own_name, sizeof own_name, "%s", name);
    if (ini_value_parse(s->value_text, &evaluated, &raw, error, sizeof error) < 0) {
        problem(s->reading, 0, s->path, s->line, "%s", error);
    } else {
        deliver(s, own_name, evaluated.p, raw.p);
    }
    buf_wipe(&evaluated);
    buf_wipe(&raw);
    return !s->reading->failed;
}

static int read_file(struct reading *r, const char *path)
{
    if (r->depth >= INCLUDES_MAX) {
        problem(r, 0, NULL, 0, "failed to include more than %d files recursively", INCLUDES_MAX);
        return -1;
    }
    FILE *file = fopen(path, "re");
    if (!file || is_directory(path)) {
        problem(r, 0, NULL, 0, "failed to open configuration file '%s': %s (%d)", path,
                strerror(file ? EISDIR : errno), file ? EISDIR : errno);
        if (file) {
            fclose(file);
        }
        return -1;
    }
    struct source *s = xcalloc(1, sizeof *s);
    *s = (struct source){.reading = r, .file = file, .path = keep_name(path)};
    setvbuf(file, s->read, _IOFBF, sizeof s->read); /* ours, to be wiped */
    r->depth++;
    int bad_line = ini_parse_stream(give_line, s, on_line, s);
    r->depth--;
    if (bad_line != 0 && !r->failed) {
        problem(r, 0, s->path, bad_line, "Unknown INI syntax"); /* inih saw what we did not */
    }
    if (ferror(file) && !r->failed) {
        problem(r, 0, NULL, 0, "failed to read configuration file '%s'", path);
    }
    fclose(file);
    explicit_bzero(s, sizeof *s);
    free(s);
    return r->failed ? -1 : 0;
}

int ini_read(const char *path, const char *prefix, ini_entry_fn on_entry, ini_problem_fn on_problem,
             void *ctx)
{
    struct reading r = {.prefix = prefix, .on_entry = on_entry, .on_problem = on_problem, .ctx = ctx};

    return read_file(&r, path) < 0 || r.failed ? -1 : 0;
}
