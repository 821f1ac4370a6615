/* Names of scripts and of script sources. What runs is an exact list; what is source is a wide one: an
 * editor's or an administrator's copy of a script (config.php~, config.php.bak, config.php.2024) shows
 * passwords when it is sent as text, so every name with a PHP extension in it counts as source, except web
 * assets that merely talk about PHP (mode.php.js). Made once at the start; read-only afterwards. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/wire/script_names.h"

#define MAX_EXTENSIONS 32

struct script_names {
    char *text; /* the list's own copy; the pieces point into it */
    struct str extensions[MAX_EXTENSIONS];
    size_t count;
};

struct script_names *script_names_create(const char *limit_extensions)
{
    struct script_names *names = xcalloc(1, sizeof(*names));
    names->text = xstrdup(limit_extensions != NULL ? limit_extensions : "");
    char *state = NULL;
    for (char *word = strtok_r(names->text, " \t,", &state); word != NULL && names->count < MAX_EXTENSIONS;
         word = strtok_r(NULL, " \t,", &state)) {
        if (word[0] == '.' && word[1] != '\0') {
            names->extensions[names->count++] = str_of(word);
        }
    }
    if (names->count == 0) {
        names->extensions[names->count++] = STR(".php");
    }
    return names;
}

void script_names_destroy(struct script_names *names)
{
    if (names != NULL) {
        free(names->text);
        free(names);
    }
}

static struct str base_name(struct str path)
{
    const char *slash = memrchr(path.p, '/', path.n);
    if (slash == NULL) {
        return path;
    }
    return (struct str){slash + 1, path.n - (size_t)(slash + 1 - path.p)};
}

bool script_names_runs(const struct script_names *names, struct str path)
{
    struct str name = base_name(path);
    for (size_t i = 0; i < names->count; i++) {
        if (name.n > names->extensions[i].n && str_ends(name, names->extensions[i])) {
            return true;
        }
    }
    return false;
}

/* Is this piece between dots a PHP extension, whatever follows it ("php", "PHP5", "php~", "php_old")? */
static bool is_source_piece(const struct script_names *names, struct str piece)
{
    if (piece.n >= 3 && strncasecmp(piece.p, "php", 3) == 0) {
        return true;
    }
    size_t letters = 0;
    while (letters < piece.n && piece.p[letters] != '~' && piece.p[letters] != '#' &&
           piece.p[letters] != '-' && piece.p[letters] != '_' && piece.p[letters] != ' ') {
        letters++;
    }
    struct str word = {piece.p, letters};
    if (str_ieq(word, STR("phtml")) || str_ieq(word, STR("pht")) || str_ieq(word, STR("phar")) ||
        str_ieq(word, STR("inc"))) {
        return true;
    }
    for (size_t i = 0; i < names->count; i++) {
        struct str known = {names->extensions[i].p + 1, names->extensions[i].n - 1};
        if (str_ieq(word, known)) {
            return true;
        }
    }
    return false;
}

/* Types that are not source even with ".php" inside their name. */
static bool is_asset(struct str extension)
{
    static const char *const assets[] = {"js",  "mjs",   "css",  "map", "json", "html", "htm", "svg",
                                         "png", "jpg",   "jpeg", "gif", "webp", "avif", "ico", "woff",
                                         "ttf", "woff2", "wasm", "xml", "pdf",  "mp4",  "webm"};
    for (size_t i = 0; i < sizeof(assets) / sizeof(assets[0]); i++) {
        if (str_ieq(extension, str_of(assets[i]))) {
            return true;
        }
    }
    return false;
}

bool script_names_is_source(const struct script_names *names, struct str path)
{
    struct str rest = base_name(path), piece = STR_NONE;
    bool first = true, found = false, last_is_source = false;
    while (str_split(&rest, '.', &piece)) {
        last_is_source = !first && is_source_piece(names, piece);
        found |= last_is_source;
        first = false;
    }
    return found && (last_is_source || !is_asset(piece));
}
